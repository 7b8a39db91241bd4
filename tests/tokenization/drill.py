"""A tokenization in a process of its own, which a test may kill: `python drill.py SECTION.json SHARDS.json STORE WORKERS RESULT.json`."""

import json
import sys
import tempfile
from pathlib import Path

from recipes.schema import Tokenization
from tasks.artifacts.store import Store, sha256_file
from tasks.runtime.steps import Steps
from tasks.tokenization.tokenize import Shard, tokenize


def main(section: str, shards: str, store: str, workers: str, result: str) -> None:
    """Tokenize, and write down hashes, counts and how many items were made."""
    steps = Steps(Store(store), "working/tokenization", int(workers))
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        counts, details = tokenize(
            Tokenization.model_validate_json(Path(section).read_text()), [Shard(**row) for row in json.loads(Path(shards).read_text())], steps,
            lambda done, name, path: files.update({path: done.files[name]["sha256"]}),
            lambda local, path: files.update({path: sha256_file(local)}), Path(scratch),
        )  # fmt: skip
    Path(result).write_text(json.dumps({"counts": counts, "details": details, "files": files, "made": steps.made}))


if __name__ == "__main__":
    main(*sys.argv[1:])
