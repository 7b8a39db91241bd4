"""Whole curation on planted files: every document is kept or removed for a reason that is known by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.errors import BadInput
from tasks.artifacts.documents import document_id
from tests.curation.corpora import PLAIN, TEXTS, family_of_copies, run, section, write_jsonl


def test_each_planted_fault_is_removed_for_its_own_reason(tmp_path: Path):
    near = TEXTS[2].replace("word 15841", "vixen")
    first = write_jsonl(tmp_path / "a.jsonl", [[TEXTS[0]], [TEXTS[1]], [TEXTS[2]], ["too short"], [TEXTS[0]], "{broken"])
    second = write_jsonl(tmp_path / "b.jsonl", [[TEXTS[1]], [near], [TEXTS[3]], [TEXTS[4]], [TEXTS[5]], '{"txt": 1}'])
    result = run(section([{"name": "a", "location": first}, {"name": "b", "location": second}]), tmp_path / "out")
    assert (result.counts["documents_in"], result.counts["documents_kept"]) == (12, 6)
    assert result.texts("a") == sorted(TEXTS[:3]) and result.texts("b") == sorted(TEXTS[3:])
    assert result.details["sources"]["a"]["removed"] == {"unreadable": 1, "too_short": 1, "exact_duplicate": 1}
    assert result.details["sources"]["b"]["removed"] == {"unreadable": 1, "exact_duplicate": 1, "near_duplicate": 1}
    copy = next(row for row in result.verdicts["b"] if row["reason"] == "near_duplicate")
    assert copy["duplicate_of"] == document_id(TEXTS[2]) and copy["kept_source"] == "a" and 0.8 < copy["similarity"] < 1
    assert copy["raw"] == f"{second}#b{len(json.dumps({'text': TEXTS[1]})) + 1}"
    exact = next(row for row in result.verdicts["b"] if row["reason"] == "exact_duplicate")
    assert (exact["duplicate_of"], exact["kept_source"], exact["similarity"]) == (document_id(TEXTS[1]), "a", 1.0)
    assert result.details["across_sources"] == [["a", "a", 1], ["b", "a", 2]]
    assert result.details["clusters"]["documents"] == 2 and result.details["clusters"]["counts"][0] == 1
    assert {reason: len(rows) for reason, rows in result.details["examples"].items()} == {
        "unreadable": 2, "too_short": 1, "exact_duplicate": 2, "near_duplicate": 1,
    }  # fmt: skip


def test_every_record_has_one_verdict_and_the_kept_ones_are_the_documents(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in family_of_copies(3, 40)])
    result = run(section([{"name": "a", "location": path}]), tmp_path / "out")
    verdicts = result.verdicts["a"]
    assert len(verdicts) == result.counts["documents_in"] == len({row["raw"] for row in verdicts})
    kept = {row["id"] for row in verdicts if not row["reason"]}
    assert kept == {row["id"] for row in result.kept["a"]} and len(kept) == result.counts["documents_kept"]
    assert all(row["duplicate_of"] in kept for row in verdicts if row["reason"] == "near_duplicate")
    assert kept.isdisjoint(row["id"] for row in verdicts if row["reason"] not in ("", "exact_duplicate"))


def test_the_size_of_units_changes_no_byte(tmp_path: Path, monkeypatch):
    texts = family_of_copies(4, 60)
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in texts])
    results = []
    for name, size in (("whole", 64_000_000), ("pieces", 9_000)):
        monkeypatch.setattr("tasks.curation.curate.LEAST_UNIT_BYTES", size)
        results.append(run(section([{"name": "a", "location": path}]), tmp_path / name))
    assert results[0].made["tag"] == 1 and results[1].made["tag"] > 5
    assert {k: v for k, v in results[0].files.items() if k[:5] != "bloom"} == {
        k: v for k, v in results[1].files.items() if k[:5] != "bloom"
    }
    assert results[0].counts == results[1].counts and results[0].details["examples"] == results[1].details["examples"]


def test_the_number_of_partitions_and_bins_changes_no_byte(tmp_path: Path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in family_of_copies(5, 80)])
    once = run(section([{"name": "a", "location": path}]), tmp_path / "once")
    monkeypatch.setattr("tasks.curation.curate.HASHES_PER_PARTITION", 20)
    monkeypatch.setattr("tasks.curation.curate.KEYS_PER_PARTITION", 30)
    monkeypatch.setattr("tasks.curation.near.BIN_CHARACTERS", 3_000)
    many = run(section([{"name": "a", "location": path}]), tmp_path / "many")
    assert many.made["copies"] > 3 and many.made["buckets"] > 9 and many.made["verify"] > 5
    assert {k: v for k, v in once.files.items() if k[:5] != "bloom"} == {k: v for k, v in many.files.items() if k[:5] != "bloom"}


def test_a_source_of_many_shards_keeps_every_document_in_order(tmp_path: Path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in family_of_copies(12, 60)])
    once = run(section([{"name": "a", "location": path}]), tmp_path / "once")
    monkeypatch.setattr("tasks.curation.curate.SHARD_CHARACTERS", 3_000)
    monkeypatch.setattr("tasks.curation.shuffle.MOST_PARTITIONS", 4)
    monkeypatch.setattr("tasks.artifacts.slices.Spool.__init__.__defaults__", (2_000,))
    many = run(section([{"name": "a", "location": path}]), tmp_path / "many")
    assert sum(name.startswith("documents/") for name in many.files) >= 12
    assert many.kept == once.kept and many.reasons("a") == once.reasons("a") and many.counts == once.counts
    ids = [row["id"] for row in many.kept["a"]]
    assert ids == sorted(ids)


def test_the_order_of_files_and_records_changes_no_decision(tmp_path: Path):
    texts = family_of_copies(6, 30)
    for name, order in (("one", texts), ("two", texts[::-1])):
        (tmp_path / name).mkdir()
        for number in range(3):
            write_jsonl(tmp_path / name / f"{number}.jsonl", [[text] for text in order[number::3]])
    results = [
        run(section([{"name": "a", "location": str(tmp_path / name / "*.jsonl")}]), tmp_path / f"out-{name}") for name in ("one", "two")
    ]
    assert results[0].texts("a") == results[1].texts("a")
    assert results[0].counts == results[1].counts


def test_curating_what_was_kept_keeps_it_all(tmp_path: Path):
    once = run(
        section([{"name": "a", "location": write_jsonl(tmp_path / "a.jsonl", [[text] for text in family_of_copies(7, 50)])}]),
        tmp_path / "1",
    )
    assert once.counts["documents_kept"] < once.counts["documents_in"]
    again = run(
        section([{"name": "a", "location": write_jsonl(tmp_path / "b.jsonl", [[text] for text in once.texts("a")])}]), tmp_path / "2"
    )
    assert again.texts("a") == once.texts("a")


def test_a_rerun_makes_nothing_and_a_changed_threshold_measures_nothing_again(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in family_of_copies(8, 30)])
    first = run(section([{"name": "a", "location": path}]), tmp_path / "out")
    same = run(section([{"name": "a", "location": path}]), tmp_path / "out")
    assert set(same.made.values()) == {0} and same.files == first.files
    stricter = run(section([{"name": "a", "location": path}], near={"jaccard_threshold": 0.95}), tmp_path / "out")
    assert stricter.made["tag"] == 0 and stricter.made["verify"] == 1
    assert stricter.counts["documents_kept"] > first.counts["documents_kept"]
    longer = run(section([{"name": "a", "location": path}], rules={"plain": PLAIN | {"min_characters": 660}}), tmp_path / "out")
    assert longer.made["tag"] == 0 and longer.made["select"] == 1
    assert longer.counts["documents_kept"] < first.counts["documents_kept"]


def test_documents_of_a_reference_set_are_neither_dropped_nor_written(tmp_path: Path):
    near = TEXTS[2].replace("word 15841", "vixen")
    old = write_jsonl(tmp_path / "old.jsonl", [[TEXTS[0]], [TEXTS[0]], [near]])
    new = write_jsonl(tmp_path / "new.jsonl", [[TEXTS[0]], [TEXTS[1]], [TEXTS[2]]])
    result = run(section([{"name": "new", "location": new}, {"name": "old", "location": old, "role": "reference"}]), tmp_path / "out")
    assert list(result.kept) == ["new"] and result.texts("new") == [TEXTS[1]]
    assert sorted(reason for reason in result.reasons("new").values() if reason) == ["exact_duplicate", "near_duplicate"]
    assert {row["kept_source"] for row in result.verdicts["new"] if row["reason"]} == {"old"}
    assert result.counts["documents_in"] == 3


@pytest.mark.parametrize(("scope", "kept"), [("across_sources", 1), ("within_kinds", 2), ("within_sources", 3)])
def test_duplicates_are_looked_for_within_the_stated_scope(tmp_path: Path, scope: str, kept: int):
    near = [TEXTS[0], TEXTS[0].replace("word 3 of", "vixen of"), TEXTS[0].replace("word 5 of", "vixen of")]
    for texts, folder in (([TEXTS[0]] * 3, "exact"), (near, "near")):
        sources = []
        for name, kind, text in zip("abc", ("papers", "papers", "books"), texts, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            sources.append({"name": name, "kind": kind, "location": write_jsonl(tmp_path / folder / f"{name}.jsonl", [[text]])})
        curation = section(sources, near={"scope": scope}, exact_duplicates={"scope": scope, "false_positive_rate": 1e-9})
        assert run(curation, tmp_path / f"out-{folder}").counts["documents_kept"] == kept


def test_halves_of_a_source_are_disjoint_and_new_shards_move_no_document(tmp_path: Path):
    texts = family_of_copies(9, 120)
    write_jsonl(tmp_path / "1.jsonl", [[text] for text in texts])
    rules = {"plain": PLAIN | {"near_duplicates": None}}

    def half(portion: list[float], out: str) -> set[str]:
        return set(
            run(section([{"name": "a", "location": str(tmp_path / "*.jsonl"), "sample": portion}], rules), tmp_path / out).texts("a")
        )

    first, second = half([0.0, 0.5], "first"), half([0.5, 1.0], "second")
    assert first.isdisjoint(second) and first | second == set(texts) and 0.3 < len(first) / len(texts) < 0.7
    write_jsonl(tmp_path / "2.jsonl", [[text] for text in family_of_copies(10, 40)])
    assert first <= half([0.0, 0.5], "grown") and second <= half([0.5, 1.0], "grown too")


def test_repeated_paragraphs_go_and_documents_that_they_leave_empty_too(tmp_path: Path):
    notice = "This page uses cookies to give you the best experience on our website, as our notice says. " * 3
    own = [" ".join(f"line {n} of document {d} has its own words {n * d}" for n in range(30)) for d in (1, 2, 3)]
    path = write_jsonl(tmp_path / "a.jsonl", [[f"{own[0]}\n{notice}"], [f"{own[1]}\n{notice}\n{notice}"], [f"{notice}\nShort."]])
    rules = {"plain": PLAIN | {"near_duplicates": None, "duplicate_paragraphs": True}}
    paragraphs = {"scope": "across_sources", "min_characters": 50, "false_positive_rate": 1e-9}
    result = run(section([{"name": "a", "location": path}], rules, duplicate_paragraphs=paragraphs), tmp_path / "out")
    assert result.texts("a") == sorted([f"{own[0]}\n{notice}", own[1]])
    assert result.details["sources"]["a"]["removed"] == {"emptied": 1}
    assert result.details["sources"]["a"]["edits"]["paragraphs_removed"] == 2
    assert result.details["bloom"]["paragraphs"]["false_positives"] == 0


def test_a_classifier_learns_from_given_sets_and_one_threshold_keeps_the_stated_share(tmp_path: Path):
    good = [" ".join(f"the committee of year {n} met and wrote its report number {n * i} with care" for i in range(20)) for n in range(40)]
    bad = [" ".join(f"buy pills cheap {n} casino bonus click {n * i} winner" for i in range(30)) for n in range(40)]
    sources = [
        {"name": "mixed", "location": write_jsonl(tmp_path / "m.jsonl", [[text] for text in good[:30] + bad[:10]]), "rules": "scored"},
        {"name": "good", "location": write_jsonl(tmp_path / "g.jsonl", [[text] for text in good[30:]]), "role": "classifier"},
        {"name": "bad", "location": write_jsonl(tmp_path / "b.jsonl", [[text] for text in bad[10:]]), "role": "classifier"},
    ]
    train = {
        "positive": ["good"], "negative": ["bad"], "documents": 100, "epochs": 25, "dimensions": 8, "word_ngrams": 2, "learning_rate": 0.5, "seed": 1,
    }  # fmt: skip
    quality = {"train": train, "label": "wanted", "keep_fraction": 0.75}
    curation = section(sources, {"scored": PLAIN | {"near_duplicates": None, "quality": True}}, quality=quality)
    result = run(curation, tmp_path / "out")
    assert result.texts("mixed") == sorted(good[:30]) and result.details["sources"]["mixed"]["removed"] == {"low_quality": 10}
    assert result.details["quality"]["threshold"] > 0.5 and sum(result.details["quality"]["kept"]) == 30
    assert set(result.kept) == {"mixed"} and result.counts["documents_in"] == 40
    half = run(curation.model_copy(update={"quality": curation.quality.model_copy(update={"keep_fraction": 0.5})}), tmp_path / "out")
    assert half.made["rate"] == 0 and half.counts["documents_kept"] == 20


def test_rows_that_where_excludes_are_no_records_of_the_source(tmp_path: Path):
    rows = [json.dumps({"text": text, "meta": {"set": name}}) for text, name in zip(TEXTS, "xyxyxx", strict=True)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    result = run(section([{"name": "a", "location": path, "where": {"meta.set": ["x"]}}]), tmp_path / "out")
    assert result.texts("a") == sorted(TEXTS[n] for n in (0, 2, 4, 5)) and result.details["sources"]["a"]["skipped"] == 2


@pytest.mark.parametrize("kind", ["parquet", "text"])
def test_other_formats_come_through_the_whole_chain(tmp_path: Path, kind: str):
    path = tmp_path / f"own.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"content": TEXTS}), path)
    else:
        path.write_text(TEXTS[0])
    source = {"name": "a", "location": str(path), "format": kind, "fields": {"text": "content" if kind == "parquet" else "text"}}
    assert run(section([source]), tmp_path / "out").texts("a") == sorted(TEXTS if kind == "parquet" else TEXTS[:1])


def test_too_many_unreadable_records_stop_the_run_with_one_sentence(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [[TEXTS[0]], "{", "{", [TEXTS[1]]])
    with pytest.raises(BadInput, match=r"source 'a': 2 of 4 records are unreadable, more than max_unreadable_fraction 0.2 allows"):
        run(section([{"name": "a", "location": path}]), tmp_path / "out")


def test_a_source_without_a_readable_record_is_named(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", ['{"body": "x"}'])
    with pytest.raises(BadInput, match=r"source 'a' has no readable record .* check its format \(jsonl\), its fields \(text is 'text'\)"):
        run(section([{"name": "a", "location": path}]), tmp_path / "out")


def test_a_location_that_matches_nothing_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match=r"source 'a': nothing matches '.*missing\.jsonl'"):
        run(section([{"name": "a", "location": str(tmp_path / "missing.jsonl")}]), tmp_path / "out")
