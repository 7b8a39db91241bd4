"""`reynard watch`: how far a running job of training is, told from its journal in the artifact store alone."""

import shutil
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import Where, find_store, printable
from tasks.panels.formats import clock, compact, count, decimal, finite, is_number

if TYPE_CHECKING:
    from tasks.artifacts.manifest import Manifest
    from tasks.artifacts.store import Store
    from tasks.engine.journal import JournalReader

Row = dict[str, Any]
TERMINAL_SECONDS, LOG_SECONDS = 1.0, 5.0
SILENT_TIMES, RECENT_ROWS, BARS, STAGES_SHOWN = 5, 100, "▁▂▃▄▅▆▇█", 6
MARKS = {"skipped": "steps skipped", "spike": "spikes of the loss"}


@dataclass
class Job:
    """A stage of training as its `job.json`, or its sealed checkpoint, describes it, and the rows of its journal so far."""

    stage: str
    first_step: int
    steps: int
    started: float
    final_folder: str
    world_size: int = 0
    sealed: bool = False
    rows: list[Row] = field(default_factory=list)  # by step, without those that a later attempt took back
    checkpoint: int = 0  # the newest sealed one's step
    journal: "JournalReader | None" = None
    folder: str = ""

    def look(self, store: "Store") -> None:
        """Read what was written since the last look."""
        assert self.journal is not None
        try:
            for row in self.journal.new_rows():
                while self.rows and self.rows[-1]["step"] >= row["step"]:
                    self.rows.pop()
                self.rows.append(row)
            seals = [key for key in store.list(self.folder) if "/step-" in key and key.endswith("/_SUCCESS")]
        except OSError:  # removed since, or a store that does not answer: the next look tells
            return
        self.checkpoint = max((int(key.split("/step-")[1].split("/")[0]) for key in seals), default=0)

    @property
    def done(self) -> int:
        """Steps of the stage that were taken."""
        return int(self.rows[-1]["step"]) - self.first_step if self.rows else 0

    @property
    def touched(self) -> float:
        """When something was last written."""
        return max(self.started, self.rows[-1]["time"] if self.rows else 0.0)


def watch(
    run: Annotated[str, typer.Option(help="The run to follow. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store, whose newest job is followed: a folder or s3://bucket/prefix.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Say how it stands, and end.")] = False,
) -> None:
    """Follow a job of training: progress, loss, speed, time left, checkpoints. Ends when the stage's checkpoint is sealed."""
    terminal = sys.stdout.isatty() and not once
    try:
        where = find_store(run, store)
        job = find_job(where)
        if job is None and once:
            raise BadInput(f"no stage of training has begun in {where.store.root}")
        earlier, shown = sealed_stages(where), 0
        while True:
            if job is None:
                job, earlier = find_job(where), sealed_stages(where)
            if job and not job.sealed:
                job.look(where.store)
                job = sealed_job(where.store, job.final_folder) or job
            over = once or (job is not None and job.sealed)
            lines = (
                block(earlier, job) if terminal or over else [line(job, time.time()) if job else "no stage of training has begun: waiting"]
            )
            shown = draw(lines, shown, terminal)
            if over:
                return
            time.sleep(TERMINAL_SECONDS if terminal else LOG_SECONDS)
    except (BadInput, OSError) as error:
        typer.secho(f"error: {printable(str(error))}", fg="red", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


# --- where jobs are ----------------------------------------------------------------------------------------------------------


def find_job(where: Where) -> Job | None:
    """Return the job that was written to last: a running one, or the one that was sealed last."""
    running = [job for job in running_jobs(where.store) if not where.store.exists(f"{job.final_folder}/_SUCCESS")]
    newest = max(running, key=lambda job: job.touched, default=None)
    sealed = sealed_stages(where)
    last = sealed_job(where.store, f"{sealed[-1].kind}/{sealed[-1].version}") if sealed else None
    return last if last and (newest is None or newest.touched < last.touched) else newest


def running_jobs(store: "Store") -> list[Job]:
    """Return the jobs whose working folders are in the store, with what their journals say."""
    from tasks.engine.journal import JournalReader

    jobs = []
    for key in store.list("working"):
        if key.endswith("/job.json") and key.count("/") == 2:
            told, folder = orjson.loads(store.read(key)), key.removesuffix("/job.json")
            own = {name: told[name] for name in ("stage", "first_step", "steps", "started", "final_folder", "world_size")}
            jobs.append(Job(**own, journal=JournalReader(store, folder), folder=folder))
            jobs[-1].look(store)
    return jobs


def sealed_stages(where: Where) -> "list[Manifest]":
    """Return the manifests of finished stages (of the run, if one was named), the newest last."""
    from tasks.artifacts.manifest import read_manifest

    folders = [key.removesuffix("/_SUCCESS") for key in where.store.list("checkpoint") if key.endswith("/_SUCCESS")]
    found = [manifest for folder in folders if (manifest := read_manifest(where.store, folder))]
    mine = [m for m in found if not where.run or m.recorded.get("run") == where.run or m.version == where.versions.get(m.name)]
    return sorted(mine or found, key=lambda manifest: str(manifest.recorded.get("finished", "")))


def sealed_job(store: "Store", folder: str) -> Job | None:
    """Return the job behind a finished stage, or None if it is not finished."""
    from tasks.artifacts.manifest import read_manifest

    manifest = read_manifest(store, folder)
    if manifest is None:
        return None
    rows = [orjson.loads(text) for text in store.read(f"{folder}/journal.jsonl").splitlines()]
    details = manifest.details
    return Job(
        str(manifest.counts.get("stage", manifest.name)), int(details.get("first_step", 0)), int(details.get("stage_steps", len(rows))),
        rows[0]["time"] if rows else 0.0, folder, int(details.get("world_size", 0)), True, rows,
    )  # fmt: skip


# --- what is shown -----------------------------------------------------------------------------------------------------------


def block(earlier: "list[Manifest]", job: Job | None) -> list[str]:
    """Write finished stages in a line each, and the watched one in several."""
    if job is None:
        return ["no stage of training has begun: waiting"]
    finished = [m for m in earlier if f"{m.kind}/{m.version}" != job.final_folder][-STAGES_SHOWN:]
    lines = [f"✓ {m.name}  {count(m.details.get('stage_steps', 0))} steps  loss {shown(m.counts.get('loss'))}" for m in finished]
    now, workers = time.time(), f" on {job.world_size} worker{'s' * (job.world_size != 1)}" if job.world_size else ""
    lines.append(f"{'✓' if job.sealed else '▸'} {job.stage}  {'finished' if job.sealed else 'running'}{workers}")
    filled = 30 * job.done // max(job.steps, 1)
    lines.append(f"  {'█' * filled}{'░' * (30 - filled)} {progress(job)}")
    lines += [f"  {part}" for part in (losses(job), speed(job, now), checkpoint(job, now), marks(job), silence(job, now)) if part]
    return lines


def line(job: Job, now: float) -> str:
    """Write how a job stands in one line, for a log."""
    parts = (job.stage, progress(job), losses(job, width=0), speed(job, now), checkpoint(job, now), marks(job), silence(job, now))
    return "  ".join(part for part in parts if part)


def progress(job: Job) -> str:
    """Write steps done, and where the stage stands among all."""
    before = f" ({count(job.first_step + job.done)} with earlier stages)" if job.first_step else ""
    return f"{100 * job.done // max(job.steps, 1)} %  step {count(job.done)} of {count(job.steps)}{before}"


def losses(job: Job, width: int = 40) -> str:
    """Write the last row's loss, learning rate and gradient norm, and the loss so far as a small curve."""
    if not job.rows:
        return ""
    last = job.rows[-1]
    curve = f"  {sparkline([row.get('loss') for row in job.rows], width)}" if width else ""
    rate = f"lr {last['learning_rate']:.2e}  " if is_number(last.get("learning_rate")) else ""
    return f"loss {shown(last.get('loss'))}{curve}  {rate}gradient norm {shown(last.get('gradient_norm'))}"


def speed(job: Job, now: float) -> str:
    """Write tokens a second and the time left, by the mean pace of recent steps; before the first step, how long it has taken."""
    if not job.rows:
        return f"no step yet, started {clock(now - job.started)} ago"
    recent = job.rows[-RECENT_ROWS:]
    tokens = finite(row.get("tokens_per_second") for row in recent)
    said = [f"{compact(median(tokens))} tokens/s"] if tokens else []
    if job.sealed:
        said.append(f"took {clock(job.rows[-1]['time'] - job.rows[0]['time'])} from its first step to its last")
    elif len(recent) > 1 and job.done < job.steps:
        pace = (recent[-1]["time"] - recent[0]["time"]) / (recent[-1]["step"] - recent[0]["step"])
        said.append(f"{clock(pace * (job.steps - job.done))} left")
    return "  ".join(said)


def checkpoint(job: Job, now: float) -> str:
    """Write the newest checkpoint inside the stage and the age of what it holds."""
    if job.sealed or not job.rows:
        return ""
    if not job.checkpoint:
        return "no checkpoint inside the stage yet"
    taken = next((row["time"] for row in job.rows if row["step"] == job.checkpoint), None)
    age = f" ({clock(now - taken)} ago)" if taken else ""
    return f"newest checkpoint: step {count(job.checkpoint - job.first_step)}{age}"


def marks(job: Job) -> str:
    """Write how many steps were skipped or had a spike, if rows say so."""
    numbers = {said: sum(bool(row.get(key)) for row in job.rows) for key, said in MARKS.items()}
    return ", ".join(f"{said}: {count(number)}" for said, number in numbers.items() if number)


def silence(job: Job, now: float) -> str:
    """Warn if nothing was written for several times as long as is usual between rows; rows appear once a second at most."""
    recent = job.rows[-RECENT_ROWS:]
    if job.sealed or job.done >= job.steps or len(recent) < 2:
        return ""
    usual = max(1.0, median(after["time"] - before["time"] for before, after in pairwise(recent)))
    quiet = now - recent[-1]["time"]
    if quiet <= SILENT_TIMES * usual:
        return ""
    return f"! nothing was written for {clock(quiet)}, usually a row comes every {usual:.1f}s: a worker is being replaced, or the job has stopped"


def sparkline(values: list[Any], width: int) -> str:
    """Draw values as a row of bars, each the mean of its share; a blank where none is a number."""
    size = min(width, len(values))
    parts = [finite(values[len(values) * place // size : len(values) * (place + 1) // size]) for place in range(size)]
    means = [sum(part) / len(part) if part else None for part in parts]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else BARS[round((mean - low) * scale)] for mean in means)


def shown(value: object) -> str:
    """Write a measurement, or that it is none."""
    return decimal(float(value)) if isinstance(value, int | float) and is_number(value) else "not a number"


def draw(lines: list[str], before: int, terminal: bool) -> int:
    """Print lines, on a terminal in place of those drawn before; return how many there are."""
    columns = shutil.get_terminal_size().columns
    lines = [printable(text)[: columns - 1] if terminal else printable(text) for text in lines]
    print((f"\x1b[{before}F\x1b[J" if before and terminal else "") + "\n".join(lines), flush=True)
    return len(lines)
