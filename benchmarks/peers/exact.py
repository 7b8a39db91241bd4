"""Exact duplicates of documents by other projects, and reading and parsing alone, which bounds them all."""

from pathlib import Path

from benchmarks.measuring import Task, cpu_seconds

FALSE_POSITIVE_RATE = 1e-9


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
            "file": str(folder / "bloom.bin"), "read_only": False, "size_in_bytes": 0, "estimated_doc_count": documents,
            "desired_false_positive_rate": FALSE_POSITIVE_RATE,
        },
        "work_dir": {"input": str(folder / "in"), "output": str(folder / "out")}, "processes": 1, "is_s3_volume": False,
        "compression": {"input": None, "output": None},
    }  # fmt: skip


def dolma(task: Task) -> dict:
    """Run dolma's Bloom filter over documents by their text, in one process; it writes an attribute a document.

    What a call on one document costs with a filter of the same size is taken off: it has a price of seconds whatever the input.
    """
    import gzip

    import orjson
    from dolma import deduper

    with task.input.open("rb") as file:
        first = file.readline()
    folders = task.scratch / "one", task.scratch / "all"
    for folder, data in zip(folders, (first, task.input.read_bytes()), strict=True):
        (folder / "documents").mkdir(parents=True)
        (folder / "documents" / "part.jsonl.gz").write_bytes(gzip.compress(data, 1))  # it reads nothing else; not measured
    begun = cpu_seconds()
    deduper(_dolma_config(folders[0], task.documents))
    fixed = cpu_seconds() - begun
    with task.measured():
        deduper(_dolma_config(folders[1], task.documents))
    task.seconds -= fixed
    written = (folders[1] / "attributes" / "exact" / "part.jsonl.gz").read_bytes()
    rows = [orjson.loads(line) for line in gzip.decompress(written).splitlines()]
    note = f"reads gzip, writes attributes; {fixed:.1f} s of a call on one document taken off"
    return {"removed": sum(bool(row["attributes"]) for row in rows), "note": note}


def datatrove(task: Task) -> dict:
    """Run datatrove's three steps of exact deduplication in one process; the survivors are counted, not written."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import ExactDedupFilter, ExactDedupSignature, ExactFindDedups
    from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig

    def text_of(document) -> str:
        return document.text

    config = ExactDedupConfig(
        content_getter=text_of, hash_config=HashConfig(precision=64, hash_fc="sha1")
    )  # its xxhash fails with xxhash 4
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
