"""Exact duplicates by this project's own functions, in one process, without the store and the steps around them."""

import numpy as np

from benchmarks.measuring import Task

FALSE_POSITIVE_RATE = 1e-9


def exact(task: Task) -> dict:
    """Hash, ask the Bloom filter, and look up what it takes for a copy, so that no document is removed by mistake."""
    from tasks.curation.bloom import BloomFilter
    from tasks.curation.exact import HASH_ROW, originals
    from tasks.curation.rate import content_hashes
    from tasks.curation.tagged import content_hash

    BloomFilter(10, FALSE_POSITIVE_RATE).add_new(content_hashes(np.array([content_hash("load the kernels")], dtype=object)))
    with task.measured():
        hashes = np.frombuffer(b"".join(content_hash(text) for text in task.texts()), dtype=np.uint64).reshape(-1, 2)
        bloom = BloomFilter(len(hashes), FALSE_POSITIVE_RATE)
        suspected = bloom.add_new(hashes)
        rows = np.empty(len(hashes), dtype=HASH_ROW)
        rows["hi"], rows["lo"], rows["reference"] = hashes[:, 0], hashes[:, 1], np.arange(len(hashes))
        copies = suspected & (originals(rows, suspected) != rows["reference"])
    return {"removed": int(copies.sum()), "false_positives": int((suspected & ~copies).sum())}
