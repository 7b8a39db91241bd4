"""Exact duplicates of documents by other projects, and reading and parsing alone, which bounds them all."""

from pathlib import Path

from benchmarks.measuring import Task

FALSE_POSITIVE_RATE = 1e-9
DOLMA_LEAST = 100_000  # its filters have at least a megabyte: for fewer documents it takes thousands of hash functions and all its time


def orjson_alone(task: Task) -> dict:
    """Read the file and parse every line; do nothing with it."""
    read = 0
    with task.measured():
        for _ in task.texts():
            read += 1
    return {"removed": 0, "documents": read}


def rbloom(task: Task) -> dict:
    """Run an rbloom filter over xxh3_128 digests, which another process could load again."""
    from rbloom import Bloom
    from xxhash import xxh3_128_intdigest

    removed = 0
    with task.measured():
        seen = Bloom(task.documents, FALSE_POSITIVE_RATE, lambda text: xxh3_128_intdigest(text) - (1 << 127))
        for text in task.texts():
            data = text.encode()
            removed += data in seen
            seen.add(data)
    return {"removed": removed}


def _dolma_config(folder: Path, documents: int) -> dict:
    return {
        "documents": [str(folder / "documents" / "*")],
        "dedupe": {
            "name": "exact", "documents": {"attribute_name": "duplicate", "key": "$.text"}, "skip_empty": True, "min_length": 0, "min_words": 0,
            "num_partitions": 1, "partition_index": 0, "file_partition": False, "document_dir": "documents",
        },
        "bloom_filter": {
            "file": str(folder / "bloom.bin"), "read_only": False, "size_in_bytes": 0, "estimated_doc_count": max(documents, DOLMA_LEAST),
            "desired_false_positive_rate": FALSE_POSITIVE_RATE,
        },
        "work_dir": {"input": str(folder / "in"), "output": str(folder / "out")}, "processes": 1, "is_s3_volume": False,
        "compression": {"input": None, "output": None},
    }  # fmt: skip


def dolma(task: Task) -> dict:
    """Run dolma's Bloom filter over documents by their text, in one process; it writes an attribute a document."""
    import orjson
    from dolma import deduper

    (task.scratch / "documents").mkdir()
    (task.scratch / "documents" / "part.jsonl").symlink_to(task.input)
    with task.measured():
        deduper(_dolma_config(task.scratch, task.documents))
    written = (task.scratch / "attributes" / "exact" / "part.jsonl").read_bytes()
    rows = [orjson.loads(line) for line in written.splitlines()]
    return {"removed": sum(bool(row["attributes"]) for row in rows), "note": "writes attributes"}


def datatrove(task: Task) -> dict:
    """Run datatrove's three steps of exact deduplication in one process; the survivors are counted, not written."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import ExactDedupFilter, ExactDedupSignature, ExactFindDedups
    from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig

    def text_of(document) -> str:
        return document.text

    config = ExactDedupConfig(content_getter=text_of, hash_config=HashConfig(precision=64))
    folder, kept = task.scratch, 0

    def count(data, rank=0, world_size=1):
        nonlocal kept
        for document in data:
            kept += 1
            yield document

    def reader():
        return JsonlReader(str(task.input.parent), glob_pattern=task.input.name)

    steps = [
        [reader(), ExactDedupSignature(str(folder / "sigs"), config)],
        [ExactFindDedups(str(folder / "sigs"), str(folder / "dups"), config)],
        [reader(), ExactDedupFilter(str(folder / "dups"), config), count],
    ]
    with task.measured():
        for number, pipeline in enumerate(steps):
            LocalPipelineExecutor(pipeline, tasks=1, workers=1, logging_dir=str(folder / f"logs{number}")).run()
    return {"removed": task.documents - kept}
