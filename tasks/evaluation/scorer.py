"""A model folder to a process that scores it (`harness.py`), and questions to its answers.

The process gets a clean environment, because lm-evaluation-harness, datasets and accelerate all read variables that a distributed job
leaves behind, and a working directory of its own, because the harness's tasks find their items there. It ends when nobody asks any more.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON
from tasks.runtime.code import ROOT
from tasks.runtime.progress import Progress

DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED")
ERROR_LINES = 30


@dataclass(frozen=True)
class Setup:
    """What a scoring process works with. `device` None: a GPU if this machine has one."""

    model: str  # a Hugging Face folder
    items: str | None  # a folder in the Hub's layout; None for the Hub
    batch_size: int  # sequences that generate together
    device: str | None


class Scorer:
    """A scoring process; use it as a context manager."""

    def __init__(self, setup: Setup, scratch: Path) -> None:
        self.setup, self.scratch = setup, scratch.absolute()

    def __enter__(self) -> "Scorer":
        self.scratch.mkdir(parents=True, exist_ok=True)
        asked, self.errors = self.scratch / "setup.json", self.scratch / "errors.txt"
        asked.write_text(json.dumps(asdict(self.setup) | {"model": str(Path(self.setup.model).absolute())}))
        command = [sys.executable, "-P", "-m", "tasks.evaluation.harness", str(asked)]
        folder, environment = self.setup.items or self.scratch, _environment(self.scratch, self.setup.items is not None)
        self.log = self.errors.open("w")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1
        )
        return self

    def ask(self, question: JSON, progress: Progress | None = None) -> JSON:
        """Return the answer to a question, and show its progress; BadInput as the process says it, RuntimeError with the end of its errors."""
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
        except OSError:
            raise self._failure(question) from None
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "DONE":
                return json.loads(rest)
            if word == "REFUSED":
                raise BadInput(rest)
            if word == "PROGRESS" and progress:
                part, _, label = rest.partition(" ")
                progress.reach(float(part), label)
        raise self._failure(question)

    def _failure(self, question: JSON) -> RuntimeError:
        status = self.process.wait()
        what = question.get("task") or question["do"].replace("_", " ")
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return RuntimeError(f"scoring {what} failed with exit status {status}:\n" + "\n".join(lines[-ERROR_LINES:]))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            try:
                stream.close()
            except BrokenPipeError:  # what was still to be written goes to nobody
                continue


def _environment(scratch: Path, offline: bool) -> dict[str, str]:
    """Return the scoring process's variables: ours without a distributed job's, and nothing from the network if items lie in a folder."""
    own = {key: value for key, value in os.environ.items() if key not in DISTRIBUTED}
    paths = [str(ROOT), *filter(None, [own.get("PYTHONPATH")])]
    own |= {"PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    own.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads on busy cores made this process 2 to 4 times slower
    if offline:
        home = str(scratch / "hugging-face")
        own |= {"HF_HOME": home, "HF_DATASETS_CACHE": f"{home}/datasets", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return own
