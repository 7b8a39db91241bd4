"""Near and exact duplicates by this project's own functions, in one process, without the store and the steps around them."""

import io
from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks.measuring import Task
from recipes.curation import Curation, NearDuplicates

CHECKED_DOCUMENTS = 300  # whose signatures are compared with datasketch's
FALSE_POSITIVE_RATE = 1e-9


def rule_of(settings: dict[str, Any]) -> NearDuplicates:
    """Return the near-duplicate rule that all contenders share."""
    fields = {name: settings[name] for name in ("shingle_length", "permutations", "bands", "rows", "jaccard_threshold")}
    return NearDuplicates(unit="character", scope="across_sources", **fields)


def section_of(settings: dict[str, Any]) -> Curation:
    """Return the smallest section of a recipe that has the rule."""
    return Curation.model_validate(
        {
            "sources": [{"name": "text", "kind": "mixed_web", "format": "jsonl", "location": "-", "licence": "-", "rules": "web"}],
            "rules": {"web": {"min_characters": 0, "max_characters": 10**9, "near_duplicates": "text"}},
            "max_unreadable_fraction": 0.0,
            "exact_duplicates": {"scope": "across_sources", "false_positive_rate": FALSE_POSITIVE_RATE},
            "near_duplicates": {"text": rule_of(settings).model_dump()},
        }
    )


def shared_buckets(keys: np.ndarray) -> np.ndarray:
    """Tell which keys (documents x bands) some other document has too; 0 is no key."""
    shared = np.zeros(keys.shape, dtype=bool)
    for band in range(keys.shape[1]):
        _, bucket, members = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        shared[:, band] = (members[bucket] > 1) & (keys[:, band] != 0)
    return shared


def greedily(keys: np.ndarray) -> list[int]:
    """Return the documents that share a bucket with a kept one before them: the rule that all unverified contenders follow."""
    shared = shared_buckets(keys)
    kept: list[set[int]] = [set() for _ in range(keys.shape[1])]
    removed = []
    for place in np.flatnonzero(shared.any(axis=1)).tolist():
        mine = [(band, int(keys[place, band])) for band in np.flatnonzero(shared[place]).tolist()]
        if any(key in kept[band] for band, key in mine):
            removed.append(place)
        else:
            for band, key in mine:
                kept[band].add(key)
    return removed


def near_unverified(task: Task) -> dict:
    """Sign and index, without verification, as the peers do; then, outside of the clock, check signatures and removals."""
    from tasks.curation.minhash import near_keys

    rule = rule_of(task.settings)
    near_keys(["load the kernels", "and the tables: ü"], rule)
    with task.measured():
        keys = np.concatenate([near_keys(batch, rule) for batch in task.batches()])
        removed = greedily(keys)
    return {
        "removed": len(removed),
        "identical_signatures": signatures_are_datasketchs(task),
        "removed_below_threshold": removed_below_threshold(task, keys, removed),
    }


def signatures_are_datasketchs(task: Task) -> bool:
    """Compare whole signatures with datasketch's for the same hash function and permutations, bit by bit."""
    from datasketch import MinHash

    from tasks.curation.minhash import datasketch_hash, shingle_hashes, signature

    rule = rule_of(task.settings)
    for number, text in enumerate(task.texts()):
        if number == CHECKED_DOCUMENTS:
            break
        hashes = shingle_hashes(text, rule)
        theirs = MinHash(num_perm=rule.permutations, seed=1, hashfunc=int)
        theirs.update_batch(datasketch_hash(hashes).tolist())
        if not np.array_equal(signature(hashes, rule), theirs.hashvalues):
            return False
    return True


def near_verified(task: Task) -> dict:
    """Sign, index, and verify every candidate by exact Jaccard similarity: what curation does with a bin of candidates."""
    import zstandard

    from tasks.curation.minhash import jaccard, near_keys, shingle_set
    from tasks.curation.verify import Candidate, Resolver

    rule, section = rule_of(task.settings), section_of(task.settings)
    near_keys(["load the kernels", "and the tables: ü"], rule)
    jaccard(shingle_set("load the kernels", rule), shingle_set("and the tables", rule))
    with task.measured():
        keys = np.concatenate([near_keys(batch, rule) for batch in task.batches()])
        is_candidate = shared_buckets(keys).any(axis=1)
        compressor, texts, members = zstandard.ZstdCompressor(level=1), io.BytesIO(), []
        for place, text in enumerate(task.texts()):
            if is_candidate[place]:
                data = compressor.compress(text.encode())
                members.append(
                    Candidate(0, place, 0, -1.0, len(text), f"{place:032x}", texts.tell(), len(data), tuple(keys[place].tolist()))
                )
                texts.write(data)
        resolver = Resolver(section, texts)
        removed = resolver.resolve(members)
    compared = int(resolver.removed.sum() + resolver.rejected.sum())
    return {"removed": len(removed), "candidates": len(members), "compared": compared, "rejected": int(resolver.rejected.sum())}


def removed_below_threshold(task: Task, keys: np.ndarray, removed: list[int]) -> int:
    """Count removals whose exact similarity to every kept document in their buckets is below the threshold."""
    from tasks.curation.minhash import jaccard, shingle_set

    rule, shared, gone = rule_of(task.settings), shared_buckets(keys), set(removed)
    sets = {place: shingle_set(text, rule) for place, text in enumerate(task.texts()) if shared[place].any()}
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    wrong = 0
    for place in sorted(sets):
        mine = [(band, int(keys[place, band])) for band in np.flatnonzero(shared[place]).tolist()]
        if place in gone:
            others = {other for key in mine for other in kept[key]}
            wrong += all(jaccard(sets[place], sets[other]) < rule.jaccard_threshold for other in others)
        else:
            for key in mine:
                kept[key].append(place)
    return wrong
