"""Near duplicates by other projects: the same shingles, permutations and bands for all that let one choose them.

One greedy rule for all that have an index to ask: in order of the file, a document that shares a bucket with a kept one is
removed, without verification. Shingles are n-grams of the text in lower case without ASCII punctuation and with single spaces.
"""

import string
from collections.abc import Iterator

from benchmarks.measuring import Task

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
BATCH = 200  # documents whose shingles are held at once


def cleaned(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation, white space collapsed."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def shingles(text: str, length: int) -> list[str]:
    """Cut a cleaned text into its n-grams of characters; a text shorter than one is one; repeats are left in, which is quicker."""
    return [text[start : start + length] for start in range(len(text) - length + 1)] or ([text] if text else [])


def hashed_shingles(text: str, length: int):
    """Compute the project's 64-bit hashes of a cleaned text's shingles by numpy: a polynomial over code points and a final mix."""
    import numpy as np

    symbols = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64) + np.uint64(1)
    length = min(length, len(symbols))
    count = len(symbols) - length + 1 if length else 0
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        hashes *= np.uint64(0xD1342543DE82EF95)
        hashes += symbols[place : place + count]
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes ^= hashes >> np.uint64(33)
        hashes *= np.uint64(factor)
    hashes ^= hashes >> np.uint64(33)
    return hashes


def _batches(task: Task, make) -> Iterator[list]:
    batch: list = []
    for text in task.texts():
        batch.append(make(cleaned(text), task.settings["shingle_length"]))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _greedily(index, sketches, number: int) -> int:
    """Ask an index for each sketch, and insert it unless it finds something; return how many found something."""
    removed = 0
    for place, sketch in enumerate(sketches):
        if index.query(sketch):
            removed += 1
        else:
            index.insert(number + place, sketch)
    return removed


def _datasketch(task: Task, make, hashfunc) -> dict:
    from datasketch import MinHash, MinHashLSH

    rule = task.settings
    removed = number = 0
    with task.measured():
        index = MinHashLSH(num_perm=rule["permutations"], params=(rule["bands"], rule["rows"]))
        for batch in _batches(task, make):
            sketches = MinHash.bulk(batch, num_perm=rule["permutations"], seed=1, hashfunc=hashfunc)
            removed += _greedily(index, (sketch for sketch in sketches if not sketch.is_empty()), number)
            number += len(batch)
    return {"removed": removed}


def datasketch(task: Task) -> dict:
    """Run datasketch as its users do: shingles as bytes, a fast hash function (xxh32), `MinHash.bulk`, `MinHashLSH`."""
    from xxhash import xxh32_intdigest

    return _datasketch(
        task, lambda text, length: [shingle.encode("utf-8", "surrogatepass") for shingle in shingles(text, length)], xxh32_intdigest
    )


def datasketch_same_hash(task: Task) -> dict:
    """Run datasketch on this project's shingle hashes, made by numpy: the same signatures and candidates, and so the same removals."""
    import numpy as np

    return _datasketch(task, lambda text, length: (hashed_shingles(text, length) >> np.uint64(32)).tolist(), int)


def rensa(task: Task) -> dict:
    """Run rensa as its users do: shingles as strings, `RMinHash`, `RMinHashLSH`; it needs permutations = bands x rows."""
    from rensa import RMinHash, RMinHashLSH

    permutations = task.settings["bands"] * task.settings["rows"]
    removed = number = 0
    with task.measured():
        index = RMinHashLSH(0.8, permutations, task.settings["bands"])
        for batch in _batches(task, shingles):
            full = [one for one in batch if one]
            removed += _greedily(index, RMinHash.from_token_sets(full, permutations, 42), number)
            number += len(batch)
    return {"removed": removed}


def rensa_prehashed(task: Task) -> dict:
    """Run rensa on hashes made by numpy, through its interface for flat buffers: the quickest that it can be fed."""
    import numpy as np
    from rensa import RMinHash, RMinHashLSH

    permutations = task.settings["bands"] * task.settings["rows"]
    removed = number = 0
    flags: list[bool] = []
    with task.measured():
        index = RMinHashLSH(0.8, permutations, task.settings["bands"])
        for batch in _batches(task, hashed_shingles):
            full = [one for one in batch if len(one)]
            ends = np.cumsum([0] + [len(one) for one in full]).astype(np.uint64)
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(full), ends, permutations, 42)
            flags += index.insert_matrix_and_query_duplicate_flags(matrix, number)
            number += len(batch)
        removed = sum(flags)  # rows that share a bucket with one before them in the index, or with any of their own batch
    return {"removed": removed}


def datatrove(task: Task) -> dict:
    """Run datatrove's four MinHash steps (word n-grams: its only unit), in one process; the survivors are counted, not written."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    rule = task.settings
    config = MinhashConfig(
        n_grams=rule["shingle_length"], num_buckets=rule["bands"], hashes_per_bucket=rule["rows"],
        hash_config=HashConfig(precision=64),
    )  # fmt: skip
    folder, kept = task.scratch, 0
    load_word_tokenizer("eng").word_tokenize("warm up")

    def count(data, rank=0, world_size=1):
        nonlocal kept
        for document in data:
            kept += 1
            yield document

    def reader():
        return JsonlReader(str(task.input.parent), glob_pattern=task.input.name)

    steps = [
        (1, [reader(), MinhashDedupSignature(str(folder / "sigs"), config, language="eng")]),
        (rule["bands"], [MinhashDedupBuckets(str(folder / "sigs"), str(folder / "buckets"), config=config)]),
        (1, [MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config)]),
        (1, [reader(), MinhashDedupFilter(str(folder / "remove")), count]),
    ]
    with task.measured():
        for tasks, pipeline in steps:
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=1, logging_dir=str(folder / f"logs{len(pipeline)}{tasks}{id(pipeline)}")
            ).run()
    return {"removed": task.documents - kept, "unit": "word n-grams; connected components, unverified"}


def text_dedup(task: Task) -> dict:
    """Run text-dedup's MinHash command in this process (word n-grams: its only unit)."""
    import sys

    from datasets import load_from_disk
    from text_dedup.minhash import main

    rule = task.settings
    output = task.scratch / "output"
    sys.argv = [
        "text_dedup.minhash", "--path", "json", "--data_files", str(task.input), "--split", "train", "--cache_dir", str(task.scratch / "cache"),
        "--output", str(output), "--column", "text", "--ngram", str(rule["shingle_length"]), "--num_perm", str(rule["bands"] * rule["rows"]),
        "--b", str(rule["bands"]), "--r", str(rule["rows"]), "--threshold", "0.8", "--num_proc", "1", "--min_length", "1",
    ]  # fmt: skip
    with task.measured():
        main(standalone_mode=False)
    return {"removed": task.documents - len(load_from_disk(str(output))), "unit": "word n-grams; connected components, unverified"}
