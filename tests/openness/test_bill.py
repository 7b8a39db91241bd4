"""The licence bill of materials: sources say theirs, everything made from them inherits, and what is unknown anywhere is a reason to refuse."""

from pathlib import Path

import pytest

from recipes.load import load_recipe
from tasks.artifacts.manifest import digest_of
from tasks.openness.bill import bill_of, reasons, unknown_in
from tests.openness.small_release import lineage, source


def bill(**changes) -> dict:
    return {entry.name: entry for entry in bill_of(lineage(**changes))}


def test_sources_carry_what_the_recipe_says_and_the_digest_of_their_pinned_files():
    books = bill()["books"]
    assert (books.role, books.spdx, books.revision) == ("corpus", "CC0-1.0", "1.2")
    assert books.digest == digest_of([["books/a.txt", 3, "sha256:00"]]) and books.artifact.startswith("raw-documents@")


def test_mixtures_tokenizer_and_fine_tuning_inherit():
    found = bill(sources=[source("books", "CC0-1.0"), source("code", "MIT")])
    for name in ("stage1", "stage2", "tokenizer"):
        assert (found[name].spdx, [one.name for one in found[name].origins]) == ("CC0-1.0 AND MIT", ["books", "code"])
    assert (found["conversations"].role, found["conversations"].spdx) == ("fine-tuning", "MIT")
    assert (found["baber/piqa"].spdx, found["baber/piqa"].digest) == ("AFL-3.0", "cd" * 32)


def test_a_source_made_from_another_inherits_even_if_it_says_something_of_its_own():
    assert bill()["planted"].spdx == "CC0-1.0"
    rewritten = source("rewritten", "Apache-2.0", rewriting={"of": ["books"]}, location="")
    found = bill(sources=[source("books", "CC-BY-NC-4.0"), rewritten])
    assert found["rewritten"].spdx == "Apache-2.0 AND CC-BY-NC-4.0" and not found["rewritten"].is_free


def test_a_source_whose_documents_have_their_own_licences_has_those_that_are_kept():
    found = bill(sources=[source("stack", "permissive licences per file", rules="code", fields={"licence": "licences"})])
    assert (
        found["stack"].spdx == "BSD-3-Clause AND MIT"
        and found["stack"].is_free
        and found["stack"].said.said == "permissive licences per file"
    )


def test_nothing_is_unknown_in_a_release_whose_sources_are_known():
    assert reasons(bill_of(lineage())) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sources": [source("books", "unknown: scraped")]}, "corpus 'books'"),
        ({"sources": [source("books", "CC0-1.0"), source("old", "who knows", role="reference")]}, "reference 'old'"),
        ({"chats": [source("talks", "")]}, "conversations 'talks'"),
        ({"tokenizer": {"licence": "Gemma Terms of Use", "location": "tokenizer.model"}}, "tokenizer 'tokenizer'"),
        ({"expand": {"licence": "unknown", "location": "hf://a/b", "revision": None, "sha256": None}}, "initialization 'hf://a/b'"),
    ],
)
def test_an_unknown_licence_is_one_reason_that_names_where_to_say_it(changes, named):
    found = reasons(bill_of(lineage(**changes)))
    assert len(found) == 1 and found[0].startswith(named) and "in the recipe" in found[0]


def test_what_is_made_from_unknown_is_unknown_and_said_once():
    planted = source("planted", "as its origins", plants={"of": ["books"]})
    found = bill(sources=[source("books", "unknown"), planted])
    assert "made from 'books'" in found["planted"].unknown and "made from 'books'" in found["tokenizer"].unknown
    assert [reason.split(":")[0] for reason in reasons(list(found.values()))] == ["corpus 'books'"]


def test_an_evaluation_set_of_unknown_licence_refuses_nothing():
    manifests = lineage()
    scores = next(one for one in manifests if one.kind == "scores")
    scores.details["benchmarks"].append({"task": "my_own_quiz"})
    found = bill_of(manifests)
    assert next(entry for entry in found if entry.name == "my_own_quiz").unknown and reasons(found) == []


def test_a_recipe_says_before_anything_is_made_what_would_refuse_its_release():
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    assert unknown_in(load_recipe(recipes / "tiny.yaml")) == []
    found = unknown_in(load_recipe(recipes / "fox1.yaml"))
    assert any(
        reason.startswith("corpus 'redpajama_arxiv': \"each paper's own licence\" does not begin with an SPDX expression")
        for reason in found
    )
    assert not any("'c4'" in reason or reason.startswith("tokenizer") for reason in found)
