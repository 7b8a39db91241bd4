"""The committed benchmark items: at most 100 of each set, the bytes that the attribution names, chosen by the rule it states."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tasks.evaluation.sample import ITEMS, SAMPLE, SHA256

MIRROR = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval" / "hub_mirror"
FILES = {path.relative_to(ITEMS).as_posix(): path for path in ITEMS.rglob("*.jsonl")}


def read(path: Path) -> list[dict]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def rank(item: dict) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def test_no_set_has_more_than_100_items_counting_those_that_are_not_scored():
    sets = {"allenai/ai2_arc/ARC-Easy": 100, "allenai/ai2_arc/ARC-Challenge": 100, "Rowan/hellaswag": 100, "baber/piqa": 100,
            "allenai/winogrande": 100, "cais/mmlu": 100}  # fmt: skip
    assert {name: sum(len(read(path)) for own, path in FILES.items() if own.startswith(name + "/")) for name in sets} == sets
    assert sum(len(read(path)) for path in FILES.values()) == 600


def test_the_table_and_the_attribution_name_every_file_with_its_sha256():
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in FILES.items()}
    attribution = (ITEMS / "ATTRIBUTION.md").read_text().split("## Files")[1]
    listed = dict(reversed(line.split("  ")) for line in attribution.splitlines() if "  " in line)
    assert found == SHA256 == listed


def test_the_table_counts_the_items_that_each_task_scores():
    assert {name: len(read(ITEMS / row.split)) for name, row in SAMPLE.items()} == {name: row.items for name, row in SAMPLE.items()}


def test_every_folder_has_a_readme_that_lists_its_splits_and_names_a_licence():
    for readme in ITEMS.rglob("README.md"):
        text = readme.read_text()
        head = yaml.safe_load(text.split("---")[1])
        listed = {split["path"] for config in head["configs"] for split in config["data_files"]}
        assert listed == {path.relative_to(readme.parent).as_posix() for path in readme.parent.rglob("*.jsonl")}
        assert "\nLicence: " in text


def test_the_sample_stays_small():
    assert sum(path.stat().st_size for path in ITEMS.rglob("*") if path.is_file()) < 1_500_000


@pytest.mark.skipif(not MIRROR.is_dir(), reason="the full sets are not on this machine")
@pytest.mark.parametrize("name", sorted(SHA256))
def test_the_items_are_those_of_the_full_set_that_the_rule_chooses(name: str):
    items = read(FILES[name])
    full = read(MIRROR / name if (MIRROR / name).is_file() else MIRROR / f"{name}.gz")
    assert items == (full if name.endswith("/dev.jsonl") else sorted(full, key=rank)[: len(items)])
