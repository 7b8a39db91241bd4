"""A curation in a process of its own, which a test may kill: `python drill.py SECTION.json STORE WORKERS UNIT_BYTES RESULT.json`."""

import json
import sys
from pathlib import Path

from recipes.curation import Curation
from tasks.artifacts.store import Store
from tasks.curation import curate as curation
from tasks.preflight.check import pin_sources
from tasks.runtime.steps import Steps


def main(section: str, store: str, workers: str, unit_bytes: str, result: str) -> None:
    """Curate, and write down hashes, counts and how many items were made."""
    curation.LEAST_UNIT_BYTES = int(unit_bytes)
    curation.HASHES_PER_PARTITION = 500
    rules = Curation.model_validate_json(Path(section).read_text())
    steps = Steps(Store(store), "working/curation", int(workers))
    files: dict[str, str] = {}
    places = pin_sources(rules)[1]
    counts, details = curation.curate(rules, places, steps, lambda done, name, path: files.update({path: done.files[name]["sha256"]}))
    Path(result).write_text(
        json.dumps({"counts": counts, "details": details, "files": files, "made": steps.made, "seconds": steps.seconds})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
