"""A recipe's pre-training, killed again and again at random points, to the proof that nothing was lost: a row a draw.

The workflow `pretrain` runs as a user would run it. Once it runs undisturbed. Then, in each draw, processes are killed at random steps:
a training worker, the Ray head, the driver, the S3 server in the middle of an upload, the MLflow server (all SIGKILL), or a worker or
the driver is asked to leave (SIGTERM). Servers come back, a driver that died is started again. At the end the losses, the hashes of the
tokens that were trained on and the sealed checkpoints must be those of the undisturbed run, bit for bit; and a draw in which processes
were only asked to leave must not have taken any step twice.

On one machine the store and MLflow are servers of the drill's own. On a Ray cluster (RAY_ADDRESS) they are the user's, and what is killed
are workers, wherever they are, and the driver.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
import yaml

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, read_manifest
from tasks.artifacts.store import Store
from tasks.drill.processes import in_session, kill_session, signal_on_cluster
from tasks.drill.services import Services
from tasks.runtime.cluster import connect_ray

SERVERS = ("s3", "mlflow")
PROCESSES = {
    "worker": ("ray::RayTrainWorker", signal.SIGKILL), "head": ("gcs_server", signal.SIGKILL), "driver": ("bin/pyflyte", signal.SIGKILL),
    "worker-term": ("ray::RayTrainWorker", signal.SIGTERM), "driver-term": ("bin/pyflyte", signal.SIGTERM),
}  # fmt: skip
VICTIMS = ("worker", "head", "driver", "s3", "mlflow", "worker-term", "driver-term")
ON_A_CLUSTER = ("worker", "driver", "worker-term", "driver-term")
CHECKPOINTS = 8  # in the shortest stage
ATTEMPTS = 4  # of the driver, after each kill
DRAWN_AT_MOST = 3  # times, where a run ended before a kill
POLL_SECONDS = 0.1
UPLOAD_SECONDS = 10.0  # that the drill waits for a checkpoint to be on its way
PATIENCE_SECONDS = 1200.0


class Kill(NamedTuple):
    """What was killed, the last step in the journal then (None if the run had ended), and whether a checkpoint was on its way."""

    victim: str
    after_step: int | None
    uploading: bool


class Unfinished(RuntimeError):
    """A run that did not end well though it was started again and again."""


@dataclass
class Drill:
    """A recipe, a folder for logs, and the services that are killed and come back; without services the user's own are used."""

    recipe: Recipe
    folder: Path
    services: Services | None = None
    kills: int = 1  # in a draw
    baseline: JSON = field(default_factory=dict)
    losses: list[list[float]] = field(default_factory=list)  # of each draw
    attempts: int = 0

    def __post_init__(self) -> None:
        """Write the recipe that is run: this one with many checkpoints, which decide no weights."""
        values = self.recipe.model_dump(mode="json")
        values["pretraining"]["checkpoint_every_steps"] = max(
            min(stage.steps for stage in self.recipe.pretraining.stages) // CHECKPOINTS, 1
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    @property
    def store(self) -> Store:
        """The drill's store, beside the user's."""
        root = os.environ["REYNARD_STORE"]
        return Store(root if self.services else f"{root.rstrip('/')}-drill")

    @property
    def victims(self) -> tuple[str, ...]:
        """What can be killed here."""
        return VICTIMS if self.services else ON_A_CLUSTER

    def undisturbed(self) -> JSON:
        """Run to the end without a kill; what comes out is what every draw is compared with."""
        self._finish(self._start("undisturbed"))
        self.baseline = outcome(self.store, self.recipe)
        return self.baseline

    def draw(self, number: int, seed: int) -> JSON:
        """Kill at random points, let the run be resumed, and compare; the row says what was killed when, and what differs.

        Where a run ended before all had been killed, it is drawn again with other points, a few times.
        """
        for times in range(DRAWN_AT_MOST):
            row, losses = self._draw(number, random.Random(f"{seed}/{number}" + (f"/{times}" if times else "")))
            if all(kill["after_step"] is not None for kill in row["kills"]):
                break
        self.losses.append(losses)
        return row

    # --- one run ---

    def _draw(self, number: int, chance: random.Random) -> tuple[JSON, list[float]]:
        victims = [self.victims[(number * self.kills + one) % len(self.victims)] for one in range(self.kills)]
        aims = sorted(chance.sample(range(1, self.recipe.pretraining.steps), self.kills))
        for prefix in ("checkpoint", "published", "working"):
            self.store.delete(prefix)
        begun, self.attempts = time.monotonic(), 0
        process, done = self._start(f"draw-{number}"), []
        for victim, aim in zip(victims, aims, strict=True):
            kill, process = self._kill(process, victim, aim)
            done.append(kill)
        self._finish(process)
        found = outcome(self.store, self.recipe)
        differs = [name for name in ("losses", "targets", "digests") if found[name] != self.baseline[name]]
        if found["taken_again"] and all(victim.endswith("-term") for victim in victims):
            differs.append(f"{found['taken_again']} steps were taken twice")
        differs += [f"{kill.victim} was not killed" for kill in done if kill.after_step is None]
        row = {
            "draw": number, "kills": [kill._asdict() for kill in done], "aimed_at_steps": aims, "attempts": self.attempts,
            "steps": len(found["losses"]), "taken_again": found["taken_again"], "equal": not differs, "differs": differs,
            "seconds": round(time.monotonic() - begun, 1),
        }  # fmt: skip
        return row, found["losses"]

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        self.attempts += 1
        log = (self.folder / f"{name}.log").open("ab")
        command = [sys.executable, "-m", "reynard", "run", str(self.folder / "recipe.yaml"), "--workflow", "pretrain", "--name", "drill"]
        variables = os.environ | {"REYNARD_RUNS": str(self.folder / "runs"), "REYNARD_STORE": self.store.root}
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, start_new_session=True)

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a driver to end, start it again if it failed."""
        for _ in range(ATTEMPTS):
            status = process.wait(timeout=PATIENCE_SECONDS)
            kill_session(process.pid)  # what a dead driver has left
            if status == 0:
                return
            process = self._start("again")
        kill_session(process.pid)
        raise Unfinished(f"pre-training did not end well in {ATTEMPTS} attempts: see {self.folder}/*.log")

    def _kill(self, process: subprocess.Popen[bytes], victim: str, step: int) -> tuple[Kill, subprocess.Popen[bytes]]:
        """Wait for a step to be journalled, then kill; the S3 server while a checkpoint is on its way, if one is caught in time.

        A driver that has died of an earlier kill is started again. Returns what was done, and the driver.
        """
        deadline, patience = time.monotonic() + PATIENCE_SECONDS, UPLOAD_SECONDS if victim == "s3" else 0.0
        failures = 0
        while time.monotonic() < deadline and process.poll() != 0:
            if process.poll() is not None:
                kill_session(process.pid)
                failures += 1
                if failures > ATTEMPTS:
                    raise Unfinished(f"pre-training failed {failures} times in a row: see {self.folder}/*.log")
                process = self._start("again")
            rows = journalled(self.store)
            if rows < step:
                time.sleep(POLL_SECONDS)
                continue
            begun = time.monotonic()
            while not (uploading := checkpoint_on_its_way(self.store)) and time.monotonic() - begun < patience and process.poll() is None:
                pass
            if self._signal(process, victim):
                return Kill(victim, rows, uploading), process
        return Kill(victim, None, False), process

    def _signal(self, process: subprocess.Popen[bytes], victim: str) -> bool:
        """Kill what is to be killed; tell whether it was there."""
        if victim in SERVERS:
            assert self.services is not None
            self.services.interrupt(victim)
            return True
        name, number = PROCESSES[victim]
        if victim.startswith("worker") and not self.services:
            connect_ray()
            return signal_on_cluster(name, number)
        found = in_session(name, process.pid)
        if found:
            os.kill(found[0], number)
            if victim.startswith("driver"):
                process.wait(timeout=PATIENCE_SECONDS)  # the next victim is one of the driver that follows
        return bool(found)


@contextlib.contextmanager
def open_drill(recipe: Recipe, folder: Path, kills: int) -> Iterator[Drill]:
    """Make a drill on the cluster and the store at hand, if there are both, or with servers of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get("RAY_ADDRESS") and os.environ.get("REYNARD_STORE"):
        yield Drill(recipe, folder, None, kills)
    else:
        with Services(folder) as services:
            yield Drill(recipe, folder, services, kills)


def journalled(store: Store) -> int:
    """Return the last step that the newest journal in the store has, or 0 if none can be read."""
    try:
        keys = [key for prefix in ("working", "checkpoint") for key in store.list(prefix) if key.endswith(".jsonl")]
        newest = max(keys, key=lambda key: (key.startswith("working"), key), default=None)
        lines = store.read(newest).splitlines() if newest else []
    except OSError:
        return 0
    return int(orjson.loads(lines[-1])["step"]) if lines else 0


def checkpoint_on_its_way(store: Store) -> bool:
    """Tell whether some of a checkpoint is in the store, and its seal is not."""
    try:
        keys = store.list("working")
    except OSError:
        return False
    folders = {key.rsplit("/", 1)[0] for key in keys if "/step-" in key}
    return any(f"{folder}/_SUCCESS" not in keys for folder in folders)


def outcome(store: Store, recipe: Recipe) -> JSON:
    """Return the loss and the hash of the targets of every step, each step once, and the digests of the sealed stages.

    `taken_again` counts steps that were taken more than once; only the last time counts. RuntimeError if a step is missing or there twice.
    """
    names = {stage.name for stage in recipe.pretraining.stages}
    sealed = [read_manifest(store, key.rsplit("/", 1)[0]) for key in store.list("checkpoint") if key.endswith("/_SUCCESS")]
    manifests = sorted((m for m in sealed if m and m.name in names), key=lambda manifest: manifest.details["first_step"])
    rows = [orjson.loads(line) for m in manifests for line in store.read(f"checkpoint/{m.version}/journal.jsonl").splitlines()]
    steps = [int(row["step"]) for row in rows]
    if steps != list(range(1, recipe.pretraining.steps + 1)):
        raise RuntimeError(f"the journals have {len(steps)} rows for {recipe.pretraining.steps} steps: a step is missing or there twice")
    return {
        "losses": [row["loss"] for row in rows], "targets": [row["targets"] for row in rows],
        "digests": {manifest.name: manifest.digest for manifest in manifests},
        "taken_again": sum(manifest.recorded.get("steps_taken_again", 0) for manifest in manifests),
    }  # fmt: skip
