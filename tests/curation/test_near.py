"""Near-deduplication against all pairs: what is dropped is truly similar, and what LSH misses is what its theory says."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.curation import NearDuplicates
from tasks.artifacts.documents import document_id
from tasks.curation.minhash import near_keys
from tasks.curation.near import _flatten, _unite
from tests.curation.corpora import NEAR, family_of_copies, run, section, sentence, write_jsonl

RULE = NearDuplicates(**NEAR)


def true_jaccard(left: str, right: str, length: int = 13) -> float:
    """Compute the similarity from its definition; the texts are clean already."""
    a, b = ({text[i : i + length] for i in range(len(text) - length + 1)} for text in (left, right))
    return len(a & b) / len(a | b)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    texts = family_of_copies(11, 60)
    return texts, run(section([{"name": "a", "location": write_jsonl(folder / "a.jsonl", [[text] for text in texts])}]), folder / "out")


def test_every_dropped_document_is_similar_to_the_kept_one_that_is_named(result):
    texts, curated = result
    by_id = {document_id(text): text for text in texts}
    dropped = [row for row in curated.verdicts["a"] if row["reason"] == "near_duplicate"]
    assert len(dropped) > 20
    for row in dropped:
        similarity = true_jaccard(by_id[row["id"]], by_id[row["duplicate_of"]])
        assert similarity >= 0.8 and row["similarity"] == pytest.approx(similarity, abs=1e-6)


def test_no_two_kept_documents_that_share_a_bucket_are_similar(result):
    kept = result[1].texts("a")
    keys = near_keys(kept, RULE)
    missed = 0
    for a, b in combinations(range(len(kept)), 2):
        if true_jaccard(kept[a], kept[b]) >= 0.8:
            assert not (keys[a] == keys[b]).any()
            missed += 1
    assert missed <= 0.25 * result[1].counts["documents_in"]  # LSH of 9 x 13 proposes 40 % of the pairs at 0.8, 99 % at 0.95


def test_it_is_the_greedy_choice_in_order_of_preference(result):
    texts, curated = result
    order = sorted(set(texts), key=lambda text: (-len(text), document_id(text)))
    keys = dict(zip(order, near_keys(order, RULE), strict=True))
    kept: list[str] = []
    for text in order:
        if not any((keys[text] == keys[other]).any() and true_jaccard(text, other) >= 0.8 for other in kept):
            kept.append(text)
    assert sorted(kept) == curated.texts("a")


def test_pairs_are_proposed_as_often_as_theory_says():
    import random

    chance = random.Random(5)
    pairs = []
    for _ in range(300):
        base = sentence(chance, 100)
        copy = base.copy()
        copy[chance.randrange(100)] = sentence(chance, 1)[0]
        copy[chance.randrange(100)] = sentence(chance, 1)[0]
        pairs.append((" ".join(base), " ".join(copy)))
    left, right = (near_keys([pair[side] for pair in pairs], RULE) for side in (0, 1))
    found = float((left == right).any(axis=1).mean())
    expected = float(np.mean([1 - (1 - true_jaccard(a, b) ** 13) ** 9 for a, b in pairs]))
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 300) ** 0.5)


def test_a_chain_of_small_differences_drops_only_what_is_similar_to_a_kept_document(tmp_path: Path):
    import random

    chance = random.Random(6)
    words = sentence(chance, 200)
    chain = []
    for step in range(12):  # each differs from the one before by 5 words, so the ends are strangers
        words = [*words[: step * 5], *sentence(chance, 5), *words[step * 5 + 5 :]]
        chain.append(" ".join(words))
    assert true_jaccard(chain[0], chain[1]) > 0.8 > true_jaccard(chain[0], chain[-1])
    path = write_jsonl(tmp_path / "a.jsonl", [[text] for text in chain])
    near = {"bands": 32, "rows": 4}
    curated = run(section([{"name": "a", "location": path}], near=near), tmp_path / "out")
    kept = curated.texts("a")
    assert 1 < len(kept) < len(chain)
    for text in set(chain) - set(kept):
        assert max(true_jaccard(text, other) for other in kept) >= 0.8
    assert sum(curated.details["similarity"]["rejected"]) > 0


def test_code_is_compared_by_its_set_of_tokens(tmp_path: Path):
    body = "\n".join(f"def function_{n}(value_{n}): return value_{n} + {n}" for n in range(40))
    renamed = body.replace("+", " -\n ").replace("function_1(", "other(")
    path = write_jsonl(tmp_path / "a.jsonl", [[body], [renamed], [body.replace("value", "thing").replace("function", "method")]])
    near = {"unit": "code_token", "shingle_length": 1, "permutations": 256, "bands": 25, "rows": 10, "jaccard_threshold": 0.85}
    curated = run(section([{"name": "a", "location": path}], near=near), tmp_path / "out")
    assert curated.details["sources"]["a"]["removed"] == {"near_duplicate": 1}


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_connected_documents_get_their_smallest_member_as_root(pairs):
    parent = np.arange(41, dtype=np.int64)
    _unite(parent, np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64))
    _flatten(parent)
    groups = [{n} for n in range(41)]
    for a, b in pairs:
        joined = groups[a] | groups[b]
        for member in joined:
            groups[member] = joined
    assert parent.tolist() == [min(groups[n]) for n in range(41)]
