"""A recipe's pre-training, killed again and again at random points, to the proof that nothing was lost: a row a draw.

The workflow `pretrain` runs as a user would run it, against a real S3 server and a real MLflow server of the drill's own. Once it runs
undisturbed. Then, in each draw, a process is killed (SIGKILL) at a random step: a training worker, the Ray head, the driver, the S3 server
in the middle of an upload, or the MLflow server; servers come back, a driver that died is started again. At the end the losses, the
hashes of the tokens that were trained on and the sealed checkpoints must be those of the undisturbed run, bit for bit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import yaml

from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, read_manifest
from tasks.artifacts.store import Store
from tasks.drill.processes import in_session, kill_session

VICTIMS = ("worker", "head", "driver", "s3", "mlflow")
NAMES = {"worker": "ray::RayTrainWorker", "head": "gcs_server", "driver": "bin/pyflyte"}
CHECKPOINTS = 8  # in the shortest stage
ATTEMPTS = 4  # of the driver, in a draw
DOWN_SECONDS = 3.0  # that a server is away
POLL_SECONDS = 0.1
UPLOAD_SECONDS = 30.0  # that the drill waits for a checkpoint to be on its way
PATIENCE_SECONDS = 1200.0


@dataclass
class Drill:
    """A recipe file, a folder for everything, and the services that are killed and come back."""

    recipe: Recipe
    folder: Path
    services: "Services"
    baseline: JSON = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the recipe that is run: this one with many checkpoints, which decide no weights."""
        values = self.recipe.model_dump(mode="json")
        values["pretraining"]["checkpoint_every_steps"] = max(
            min(stage.steps for stage in self.recipe.pretraining.stages) // CHECKPOINTS, 1
        )
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    @property
    def store(self) -> Store:
        """The drill's store."""
        return Store(self.services.variables["REYNARD_STORE"])

    def undisturbed(self) -> JSON:
        """Run to the end without a kill; what comes out is what every draw is compared with."""
        self._finish(self._start("undisturbed"))
        self.baseline = self.outcome()
        return self.baseline

    def draw(self, number: int, seed: int) -> JSON:
        """Kill one process at a random point, let the run be resumed, and compare; the row says what was killed when, and what differs."""
        chance = random.Random(f"{seed}/{number}")
        victim, step = VICTIMS[number % len(VICTIMS)], chance.randrange(1, self.recipe.pretraining.steps)
        for prefix in ("checkpoint", "working"):
            self.store.delete(prefix)
        begun = time.monotonic()
        process = self._start(f"draw {number}")
        killed_at, uploading = self._kill(process, victim, step)
        attempts = self._finish(process)
        found = self.outcome()
        differs = [name for name in self.baseline if found[name] != self.baseline[name]]
        return {
            "draw": number, "victim": victim, "aimed_at_step": step, "killed_after_step": killed_at, "during_upload": uploading,
            "attempts": attempts, "steps": len(found["losses"]),
            "equal": not differs and killed_at is not None, "differs": differs, "seconds": round(time.monotonic() - begun, 1),
        }  # fmt: skip

    # --- one run ---

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name.replace(' ', '-')}.log").open("ab")
        command = [sys.executable, "-m", "reynard", "run", str(self.folder / "recipe.yaml"), "--workflow", "pretrain", "--name", "drill"]
        variables = os.environ | {"REYNARD_RUNS": str(self.folder / "runs")}
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, start_new_session=True)

    def _finish(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a driver to end, start it again if it failed; return how many attempts it took. RuntimeError if none succeeds."""
        for attempt in range(1, ATTEMPTS + 1):
            status = process.wait(timeout=PATIENCE_SECONDS)
            kill_session(process.pid)  # what a dead driver has left
            if status == 0:
                return attempt
            process = self._start("again")
        raise RuntimeError(f"pre-training did not end well in {ATTEMPTS} attempts: see {self.folder}/*.log")

    def _kill(self, process: subprocess.Popen[bytes], victim: str, step: int) -> tuple[int | None, bool]:
        """Wait for a step to be journalled, then kill; the S3 server while a checkpoint is on its way, if one is caught in time.

        Returns the last journalled step (None if the run ended before), and whether a checkpoint was on its way.
        """
        deadline, patience = time.monotonic() + PATIENCE_SECONDS, UPLOAD_SECONDS if victim == "s3" else 0.0
        while process.poll() is None and time.monotonic() < deadline:
            rows = self._journalled()
            if rows < step:
                time.sleep(POLL_SECONDS)
                continue
            begun = time.monotonic()
            while not (uploading := self._uploading()) and time.monotonic() - begun < patience and process.poll() is None:
                pass
            if self._kill_now(process, victim):
                return rows, uploading
        return None, False

    def _kill_now(self, process: subprocess.Popen[bytes], victim: str) -> bool:
        if victim in ("s3", "mlflow"):
            self.services.kill(victim)
            time.sleep(DOWN_SECONDS)
            self.services.restart(victim)
            return True
        found = in_session(NAMES[victim], process.pid)
        if found:
            os.kill(found[0], signal.SIGKILL)
        return bool(found)

    def _journalled(self) -> int:
        """Return the last step that any journal in the store has."""
        keys = [key for prefix in ("working", "checkpoint") for key in self.store.list(prefix) if key.endswith(".jsonl")]
        newest = max(keys, key=lambda key: (key.startswith("working"), key), default=None)
        try:
            lines = self.store.read(newest).splitlines() if newest else []
        except OSError:
            return 0
        return int(orjson.loads(lines[-1])["step"]) if lines else 0

    def _uploading(self) -> bool:
        """Tell whether a checkpoint is on its way: some of it is in the store, its seal is not."""
        keys = self.store.list("working")
        folders = {key.rsplit("/", 1)[0] for key in keys if "/step-" in key}
        return any(f"{folder}/_SUCCESS" not in keys for folder in folders)

    def outcome(self) -> JSON:
        """Return the loss and the hash of the targets of every step, each step once, and the digests of the sealed stages."""
        manifests = [
            manifest for key in self.store.list("checkpoint") if key.endswith("/_SUCCESS") and (manifest := read_manifest(self.store, key.rsplit("/", 1)[0]))
        ]  # fmt: skip
        manifests.sort(key=lambda manifest: manifest.details["first_step"])
        rows = [orjson.loads(line) for m in manifests for line in self.store.read(f"checkpoint/{m.version}/journal.jsonl").splitlines()]
        steps = [int(row["step"]) for row in rows]
        if steps != list(range(1, self.recipe.pretraining.steps + 1)):
            raise RuntimeError(
                f"the journals have {len(steps)} rows for {self.recipe.pretraining.steps} steps: a step is missing or there twice"
            )
        return {
            "losses": [row["loss"] for row in rows], "targets": [row["targets"] for row in rows],
            "digests": {manifest.name: manifest.digest for manifest in manifests},
        }  # fmt: skip


@dataclass
class Services:
    """A real S3 server and a real MLflow server on loopback, each of which can be killed and brought back with its data."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    before: dict[str, str | None] = field(default_factory=dict)

    def __enter__(self) -> "Services":
        """Start both, and let this process and those that it starts reach them, until the end."""
        try:
            from infra.local.services import start_mlflow, start_s3
        except ImportError as error:
            raise BadInput(f"the drill needs the test tools ({error}): run `make install-test` first") from None
        self.running["s3"], s3 = start_s3(self.folder / "s3")
        self.running["mlflow"], mlflow = start_mlflow(self.folder / "mlflow")
        self.variables = s3 | mlflow
        self.before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        return self

    def kill(self, name: str) -> None:
        """Kill a server and everything it started."""
        kill_session(self.running[name].pid)
        self.running[name].wait()

    def restart(self, name: str) -> None:
        """Bring a server back at the same address with the same data."""
        from infra.local.services import restart

        self.running[name] = restart(self.running[name])

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            kill_session(process.pid)
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
