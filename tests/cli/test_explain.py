"""`reynard explain`: one document's story from a small artifact that was sealed by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from reynard.main import app
from tasks.artifacts.documents import document_id, write_lines
from tasks.artifacts.manifest import FileEntry, Manifest, write_manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.artifacts.verdicts import Verdicts, sealed_documents

KEPT, NEAR, SHORT, BAD = "The fox came first.\nIt stayed.", "The fox came first.\nIt left.", "Exit \x1b[31mred", "Bad bad bad words here."
RULES = {"min_characters": 10, "max_characters": 1000, "quality": True}


def verdict(text: str | None, raw: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """Make a verdict's row: what was measured of a text, and what was decided."""
    measured = {
        "characters": len(text or ""), "stripped_characters": sum(letter.isalnum() for letter in text or ""), "fault": "", "quality": 0.75
    }  # fmt: skip
    decided = {"reason": reason, "duplicate_of": "", "similarity": math.nan, "kept_source": "", "masked_email": 0, "paragraphs_removed": 0}
    return {"id": document_id(text) if text else "", "raw": raw} | decided | measured | more


def rows(raw: str) -> dict[str, list[dict[str, Any]]]:
    """Four records of `web`, one of them unreadable, and a copy in `mirror`, read from lines of a file of that address."""
    near = {"duplicate_of": document_id(KEPT), "similarity": 0.93, "kept_source": "web"}
    return {
        "web": [
            verdict(KEPT, f"{raw}#b0", masked_email=2),
            verdict(NEAR, f"{raw}#b1", "near_duplicate", **near),
            verdict(SHORT, f"{raw}#b2", "too_short", characters=15, stripped_characters=9),
            verdict(None, f"{raw}#b3", "unreadable"),
            verdict(BAD, f"{raw}#b4", "low_quality", quality=0.125),
        ],
        "mirror": [verdict(KEPT, "gone.jsonl#b0", "exact_duplicate", **(near | {"similarity": 1.0}))],
    }


def seal(
    root: Path,
    verdicts: dict[str, list[dict[str, Any]]],
    location: str,
    version: str = "0" * 16,
    finished: str = "2020-01-01",
    run: str = "r",
    roles: dict[str, str] | None = None,
) -> Store:
    """Seal a documents artifact in a store: verdicts (two rows a row group), the kept texts, and a recipe section."""
    store = Store(str(root))
    folder = Path(store.root) / "documents" / version
    texts = {document_id(text): text for text in (KEPT, NEAR, SHORT, BAD)}
    for name, found in verdicts.items():
        (folder / "verdicts" / name).mkdir(parents=True)
        (folder / "documents" / name).mkdir(parents=True)
        ordered = sorted(found, key=lambda row: row["id"])
        pq.write_table(pa.Table.from_pylist(ordered), folder / "verdicts" / name / "00000.parquet", row_group_size=2)
        kept = [{"id": row["id"], "text": texts[row["id"]], "raw": row["raw"], "quality": None} for row in found if not row["reason"]]
        write_lines(folder / "documents" / name / "00000.jsonl.zst", kept)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [FileEntry(path=str(path.relative_to(folder)), bytes=path.stat().st_size, sha256=sha256_file(path)) for path in paths]
    source = {"kind": "mixed_web", "format": "jsonl", "licence": "CC0", "rules": "web"}
    roles = roles or {"web": "corpus", "mirror": "corpus"}
    section = {
        "sources": [
            source | {"name": "web", "location": location, "role": roles["web"]},
            source | {"name": "mirror", "location": "gone.jsonl", "role": roles["mirror"]},
        ],
        "rules": {"web": RULES}, "max_unreadable_fraction": 0.5, "near_duplicates": {},
        "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9},
        "quality": {"load": {"location": "model.bin", "licence": "MIT", "sha256": None}, "label": "good", "keep_fraction": 0.5},
    }  # fmt: skip
    manifest = Manifest(
        kind="documents", name="documents", version=version, digest="d" * 64, identity={"section": section}, files=entries, counts={},
        details={"quality": {"threshold": 0.5}}, recorded={"finished": finished, "run": run}, records=[],
    )  # fmt: skip
    write_manifest(store, f"documents/{version}", manifest)
    return store


@pytest.fixture
def raw(tmp_path: Path) -> str:
    """Write the raw lines of NEAR, where its verdict says they are."""
    file = tmp_path / "raw.jsonl"
    file.write_text("\n" + json.dumps({"text": NEAR}) + "\n")
    return str(file)


@pytest.fixture
def store(tmp_path: Path, raw: str) -> str:
    """Seal the artifact of `rows`."""
    return seal(tmp_path / "store", rows(raw), raw).root


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["explain", *arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_a_kept_document_is_told_with_its_text_its_edits_and_the_ids_of_its_duplicates(store: str, raw: str):
    printed = run("--document", f"{raw}#b0", "--store", store).splitlines()
    assert printed[0] == "kept"
    assert f"  document              {document_id(KEPT)}" in printed
    assert "  source                web of documents@00000000" in printed
    assert "  changed               masked email: 2" in printed
    assert "  duplicates            2 others were dropped as its duplicates" in printed
    assert f"    {document_id(KEPT)}  mirror gone.jsonl#b0, the same text" in printed
    assert f"    {document_id(NEAR)}  web {raw}#b1, similarity 0.93" in printed
    assert printed[printed.index("text (as kept)") + 1 :] == ["  │ The fox came first.", "  │ It stayed."]


def test_a_near_duplicate_names_the_document_it_duplicates_and_quotes_both(store: str, raw: str):
    printed = run("--document", document_id(NEAR), "--store", store).splitlines()
    assert printed[0] == f"dropped as near duplicate of {document_id(KEPT)} (similarity 0.93, source web, raw {raw}#b0)"
    assert "text (read again from its address, before cleaning)" in printed and "  │ It left." in printed
    assert printed[-3:] == [f"the document it duplicates, {document_id(KEPT)}", "  │ The fox came first.", "  │ It stayed."]


def test_every_rule_is_shown_with_what_was_measured_beside_its_limit(store: str):
    printed = [line.split() for line in run("--document", document_id(SHORT), "--store", store).splitlines()]
    assert printed[0] == ["dropped", "as", "too", "short"]
    assert ["✗", "min_characters", "9", ">=", "10"] in printed
    assert ["✓", "max_characters", "15", "<=", "1000"] in printed
    assert ["✓", "quality", "0.75", ">=", "0.5"] in printed


def test_low_quality_is_told_with_score_and_threshold(store: str):
    assert run("--document", document_id(BAD), "--store", store).startswith("dropped as low quality (score 0.125, threshold 0.5)\n")


def test_records_with_the_same_text_are_all_shown_and_the_kept_one_first(store: str):
    printed = run("--document", document_id(KEPT), "--store", store).splitlines()
    said = [line for line in printed if line.startswith(("kept", "dropped"))]
    assert said[0] == "kept" and said[1].startswith(f"dropped as exact duplicate of {document_id(KEPT)} (source web, raw ")


def test_a_copy_of_a_document_that_was_dropped_later_is_told_so(tmp_path: Path, raw: str):
    found = rows(raw)
    copy = {"duplicate_of": document_id(NEAR), "similarity": 1.0, "kept_source": "web"}
    found["mirror"] = [verdict(NEAR, "gone.jsonl#b1", "exact_duplicate", **copy)]
    printed = run("--document", "gone.jsonl#b1", "--store", seal(tmp_path / "store", found, raw).root)
    assert printed.startswith(
        f"dropped as exact duplicate of {document_id(NEAR)} (source web, raw {raw}#b1, itself dropped as near duplicate)\n"
    )


def test_a_prefix_of_six_digits_suffices_and_capitals_do_not_matter(store: str):
    assert run("--document", document_id(NEAR)[:6].upper(), "--store", store).startswith("dropped as near duplicate")


def test_a_raw_file_that_is_gone_costs_one_sentence_and_nothing_else(store: str):
    printed = run("--document", "gone.jsonl#b0", "--store", store)
    assert printed.startswith("dropped as exact duplicate") and "its raw record cannot be read any more: gone.jsonl" in printed


def test_an_unreadable_record_is_found_by_its_address_and_not_read_again(store: str, raw: str):
    printed = run("--document", f"{raw}#b3", "--store", store)
    assert printed.startswith("dropped as unreadable\n  document              none: it has no text\n")
    assert "nothing was measured" in printed and "text (not read again, since reading it failed)" in printed


def test_digits_that_begin_several_ids_are_refused_with_their_number_and_some_of_them(tmp_path: Path):
    found = [verdict(KEPT, f"a#b{number}", "too_short") | {"id": f"abcdef{number:026d}"} for number in range(7)]
    store = seal(tmp_path / "store", {"web": found}, "a").root
    printed = run("--document", "abcdef", "--store", store, code=1)
    assert "7 documents of documents@00000000 have an id that begins with abcdef" in printed
    assert [f"abcdef{number:026d}" in printed for number in range(7)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize("asked", ["f" * 32, "ffffff", "abc", "nowhere.jsonl#b7"])
def test_an_unknown_document_is_one_clear_sentence(store: str, asked: str):
    printed = run("--document", asked, "--store", store, code=1)
    assert printed == f"error: documents@00000000 in {store} has no record '{asked}': give an id, its first digits, or `file#position`\n"


def test_the_newest_artifact_is_looked_through_and_older_ones_on_demand(tmp_path: Path, raw: str, store: str):
    only_bad = {"web": [row | {"reason": "too_short"} for row in rows(raw)["web"][-1:]]}
    seal(tmp_path / "store", only_bad, raw, version="1" * 16, finished="2021-01-01")
    assert run("--document", document_id(BAD), "--store", store).startswith("dropped as too short\n")
    assert "the store holds 1 older ones: --every looks through them too" in run("--document", document_id(NEAR), "--store", store, code=1)
    assert "dropped as near duplicate" in run("--document", document_id(NEAR), "--store", store, "--every")
    both = run("--document", document_id(BAD), "--store", store, "--every")
    assert both.index("dropped as too short") < both.index("dropped as low quality")


def test_an_artifact_that_was_never_sealed_is_no_source_of_truth(store: str):
    (Path(store) / "documents" / ("0" * 16) / "_SUCCESS").unlink()
    assert "holds no finished documents" in run("--document", "ffffff", "--store", store, code=2)


def test_an_altered_verdict_file_is_refused(store: str):
    file = Path(store) / "documents" / ("0" * 16) / "verdicts" / "web" / "00000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 5), file, compression="none")
    assert "its manifest says" in run("--document", document_id(NEAR), "--store", store, code=1)


def test_json_holds_the_whole_row_and_the_rules(store: str):
    (told,) = json.loads(run("--document", document_id(NEAR), "--store", store, "--json"))
    assert told["record"]["similarity"] == 0.93 and told["duplicate_of"]["id"] == document_id(KEPT)
    assert {"rule": "min_characters", "value": 21.0, "limit": ">= 10", "passed": True} in told["rules"]
    assert told["text"] == NEAR and told["duplicate_of"]["text"] == KEPT


def test_foreign_text_cannot_colour_or_move_the_terminal(tmp_path: Path):
    file = tmp_path / "raw.jsonl"
    file.write_text(json.dumps({"text": SHORT}) + "\n")
    store = seal(tmp_path / "store", {"web": [verdict(SHORT, f"{file}#b0", "too_short")]}, str(file)).root
    printed = run("--document", f"{file}#b0", "--store", store)
    assert "Exit \ufffd[31mred" in printed and "\x1b" not in printed


def test_a_runs_documents_are_found_by_its_name_and_the_latest_by_default(tmp_path: Path, raw: str, monkeypatch):
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("REYNARD_STORE", raising=False)
    seal(tmp_path / "runs" / "first" / "store", rows(raw), raw, run="first")
    (tmp_path / "runs" / "latest").symlink_to("first", target_is_directory=True)
    for where in ([], ["--run", "first"], ["--run", "latest"]):
        assert run("--document", document_id(NEAR), *where).startswith("dropped as near duplicate")
    assert "there is no run at" in run("--document", "ffffff", "--run", "second", code=2)


def test_a_run_in_a_shared_store_is_told_from_the_others(tmp_path: Path, raw: str, monkeypatch):
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path / "runs"))
    store = seal(tmp_path / "shared", rows(raw), raw, run="mine")
    seal(tmp_path / "shared", {"web": rows(raw)["web"][:1]}, raw, version="1" * 16, finished="2021-01-01", run="other")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    monkeypatch.setenv("REYNARD_STORE", store.root)
    assert run("--document", document_id(NEAR), "--run", "mine").startswith("dropped as near duplicate")
    (tmp_path / "runs" / "again").mkdir()
    assert "no finished documents of the run again" in run("--document", document_id(NEAR), "--run", "again", code=2)
    summary = {"locations": {"store": store.root}, "versions": {"documents": "0" * 16}}  # the run found them made already
    (tmp_path / "runs" / "again" / "summary.json").write_text(json.dumps(summary))
    assert run("--document", document_id(NEAR), "--run", "again").startswith("dropped as near duplicate")


def test_row_groups_that_cannot_hold_an_id_are_not_read(store: str, monkeypatch):
    verdicts = Verdicts(Store(store), sealed_documents(Store(store))[0])
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda file, group, **more: groups.append(group) or read(file, group, **more))
    (found,) = verdicts.find("id", document_id(NEAR), (), source="web")
    assert len(groups) == 1 and found[0].row in (2 * groups[0], 2 * groups[0] + 1)


def test_a_reference_document_is_held_to_no_rule_and_its_duplicates_are_told(tmp_path: Path, raw: str):
    store = seal(tmp_path / "store", rows(raw), raw, roles={"web": "reference", "mirror": "corpus"}).root
    printed = run("--document", f"{raw}#b0", "--store", store)
    assert printed.startswith("read as reference: never trained on, neither kept nor dropped\n")
    assert "2 others were dropped as its duplicates" in printed and "rules (a reference source is held to none)" in printed


def test_an_artifact_of_an_older_recipe_shape_is_told_without_its_limits(tmp_path: Path, raw: str):
    store = seal(tmp_path / "store", rows(raw), raw, roles={"web": "no such role", "mirror": "corpus"}).root
    printed = run("--document", document_id(NEAR), "--store", store)
    assert printed.startswith("dropped as near duplicate") and "its limits are not shown" in printed
