"""A checkpoint's files to an exported folder and what a clean process found in it, ready to be judged."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.model.export import export
from tasks.release.expected import write_expected
from tasks.release.facts import Declared, Facts, Loaded

CHECKER = Path(__file__).with_name("verify_export.py")
LAST_WORDS = 600  # characters of a process that failed


def prove(source: Path, folder: Path, template: str | None, precision: str, conversations: Sequence[JSON] = ()) -> Facts:
    """Export a checkpoint's files into a folder, load that in a clean process, and return the facts. What was expected lies beside it."""
    export(source, folder, template)
    expected = folder.with_name(f"{folder.name}-expected")
    write_expected(source, expected, template, conversations)
    return gather(source, folder, expected, template is not None, precision)


def gather(source: Path, folder: Path, expected: Path, is_chat: bool, precision: str) -> Facts:
    """Look at a folder, and compare it with what is expected in a clean process."""
    model = Model.model_validate_json((source / "model.json").read_bytes())
    declared = Declared(is_chat, model.parameter_count(), model.tied_embeddings, precision)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    found = clean_process(folder, expected)
    if isinstance(found, str):
        return Facts(declared, files, load_error=found)
    return Facts(declared, files, loaded=found)


def clean_process(folder: Path, expected: Path) -> Loaded | str:
    """Load the folder in a process that knows `transformers` but not this project; return what it found, or its last words if it cannot."""
    command = [sys.executable, "-I", str(CHECKER), str(folder.absolute()), str(expected.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return " ".join(lines[-1].split())[-LAST_WORDS:]
    return Loaded(**json.loads(done.stdout.strip().splitlines()[-1]))
