"""`reynard metrics`: the journals of running jobs in the artifact store to what Prometheus scrapes. It reads the store, and nothing else."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, refusing
from tasks.panels.formats import is_number

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from tasks.artifacts.store import Store

Row = dict[str, Any]
NAN = float("nan")
LABELS = ["stage", "version"]
OF_ROWS = {  # a metric to the column of the journal that it repeats: the newest value
    "reynard_training_loss": ("loss", "Cross-entropy of a training token in nats, of the newest step; not a number if the step's was none."),
    "reynard_training_learning_rate": ("learning_rate", "Learning rate of the newest step."),
    "reynard_training_gradient_norm": ("gradient_norm", "Norm of the gradients before clipping, of the newest step."),
    "reynard_training_tokens_per_second": ("tokens_per_second", "Tokens that the newest step trained on, by the seconds it took; all workers."),
    "reynard_training_mfu_ratio": ("mfu", "Share of the GPUs' peak arithmetic that the newest step used; only on GPUs."),
    "reynard_training_memory_bytes": ("memory_bytes", "Most memory that worker 0 has held: of its GPU, or of the machine where there is none."),
    "reynard_checkpoint_bytes": ("checkpoint_bytes", "Size of the newest checkpoint, all workers' parts."),
    "reynard_checkpoint_seal_seconds": ("checkpoint_seconds", "From the start of saving the newest checkpoint until it was sealed in the store."),
    "reynard_checkpoint_stall_seconds": ("checkpoint_stall_seconds", "How long training stood still for a checkpoint, by the newest step that did."),
}  # fmt: skip
OF_JOBS = {
    "reynard_training_step": "Newest step, counted over all stages.",
    "reynard_training_last_step": "Step at which the stage ends.",
    "reynard_training_workers": "Training processes.",
    "reynard_last_step_timestamp_seconds": "When the newest step was taken; the job's start before the first.",
    "reynard_checkpoint_step": "Step of the newest sealed checkpoint; where the stage began before the first.",
    "reynard_checkpoint_timestamp_seconds": "When the step of the newest sealed checkpoint was taken: what came after it would be lost now.",
    "reynard_checkpoint_interval_seconds": "How long the steps between two checkpoints take at the newest step's speed.",
    "reynard_data_wait_ratio": "Share of the newest step that waited for data.",
}
COUNTED = {
    "reynard_steps_skipped": "Steps that changed no weight, since the job began.",
    "reynard_loss_spikes": "Spikes of the loss, since the job began.",
}


class Watched:
    """A running job: what its job.json says, and what its journal said so far."""

    def __init__(self, store: "Store", folder: str) -> None:
        from tasks.engine.journal import JournalReader

        self.store, self.folder = store, folder
        self.told = orjson.loads(store.read(f"{folder}/job.json"))
        self.journal = JournalReader(store, folder)
        self.newest: Row = {"step": self.told["first_step"], "time": self.told["started"]}
        self.values: dict[str, float] = {}
        self.times: dict[int, float] = {}  # of steps since the newest checkpoint
        self.skipped: set[int] = set()
        self.spikes: set[int] = set()
        self.checkpoint = (int(self.told["first_step"]), float(self.told["started"]))

    @property
    def labels(self) -> list[str]:
        """Stage and version, as in `LABELS`."""
        return [str(self.told["stage"]), self.folder.rpartition("/")[2]]

    def look(self) -> None:
        """Read what was written since the last look."""
        for row in self.journal.new_rows():
            self.newest, step = row, int(row["step"])
            self.times[step] = row["time"]
            self.values |= {
                name: float(row[name]) for name, _ in OF_ROWS.values() if is_number(row.get(name)) and (row[name] or "stall" not in name)
            }
            if not is_number(row.get("loss")):
                self.values["loss"] = NAN
            (self.skipped.add if "skipped" in row else self.skipped.discard)(step)
            if "spike" in row:
                self.spikes.add(step)
        seals = [key for key in self.store.list(self.folder) if "/step-" in key and key.endswith("/_SUCCESS")]
        sealed = max((int(key.split("/step-")[1].split("/")[0]) for key in seals), default=0)
        if sealed in self.times:
            self.checkpoint = (sealed, self.times[sealed])
            self.times = {step: at for step, at in self.times.items() if step >= sealed}

    def numbers(self) -> dict[str, float]:
        """Return what `OF_JOBS` names."""
        told = self.told
        speed = self.values.get("tokens_per_second") or NAN
        step_seconds = told["tokens_per_step"] / speed
        return {
            "reynard_training_step": self.newest["step"], "reynard_training_last_step": told["first_step"] + told["steps"],
            "reynard_training_workers": told["world_size"], "reynard_last_step_timestamp_seconds": self.newest["time"],
            "reynard_checkpoint_step": self.checkpoint[0], "reynard_checkpoint_timestamp_seconds": self.checkpoint[1],
            "reynard_checkpoint_interval_seconds": told["checkpoint_every_steps"] * step_seconds,
            "reynard_data_wait_ratio": self.newest.get("data_wait_seconds", NAN) / step_seconds,
        }  # fmt: skip


class Collector:
    """Running jobs of a store as Prometheus' metrics; each scrape looks again."""

    def __init__(self, store: "Store") -> None:
        self.store = store
        self.jobs: dict[str, Watched] = {}
        self.reads, self.errors = 0, 0

    def look(self) -> None:
        """Find jobs that began or ended, and read on in the others; a store that does not answer is counted, and what is known stays."""
        self.reads += 1
        try:
            keys = [key for key in self.store.list("working") if key.endswith("/job.json") and key.count("/") == 2]
            found = {key.removesuffix("/job.json") for key in keys}
            for folder in found - set(self.jobs):
                self.jobs[folder] = Watched(self.store, folder)
            ended = {
                folder
                for folder, job in self.jobs.items()
                if folder not in found or self.store.exists(f"{job.told['final_folder']}/_SUCCESS")
            }
            self.jobs = {folder: job for folder, job in self.jobs.items() if folder not in ended}
            for job in self.jobs.values():
                job.look()
        except OSError:
            self.errors += 1

    def collect(self) -> "Iterable[Metric]":
        """Yield the metrics, as prometheus_client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self.look()
        for name, (column, meaning) in OF_ROWS.items():
            family = GaugeMetricFamily(name, meaning, labels=LABELS)
            for job in self.jobs.values():
                if column in job.values:
                    family.add_metric(job.labels, job.values[column])
            yield family
        for name, meaning in OF_JOBS.items():
            family = GaugeMetricFamily(name, meaning, labels=LABELS)
            for job in self.jobs.values():
                family.add_metric(job.labels, job.numbers()[name])
            yield family
        for name, meaning in COUNTED.items():
            counter = CounterMetricFamily(name, meaning, labels=LABELS)
            for job in self.jobs.values():
                counter.add_metric(job.labels, len(job.skipped if "skipped" in name else job.spikes))
            yield counter
        for name, value in (("reads", self.reads), ("errors", self.errors)):
            counter = CounterMetricFamily(f"reynard_store_{name}", f"Looks into the artifact store{' that failed' * (name == 'errors')}.")
            counter.add_metric([], value)
            yield counter


def metrics(
    run: Annotated[str, typer.Option(help="The run whose store is read. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    port: Annotated[int, typer.Option(help="Where Prometheus finds them: http://HOST:PORT/metrics.")] = 9400,
    address: Annotated[str, typer.Option(help="Address to listen at.")] = "0.0.0.0",
    once: Annotated[bool, typer.Option("--once", help="Print them, and end.")] = False,
) -> None:
    """Serve what Prometheus scrapes: loss, tokens per second, MFU and the age of checkpoints of all running jobs, from the store alone."""
    with refusing(BadInput, OSError):
        from prometheus_client import CollectorRegistry, generate_latest, start_http_server

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collector(find_store(run, store).store))
        if once:
            typer.echo(generate_latest(registry).decode(), nl=False)
            return
        server, thread = start_http_server(port, address, registry)
        typer.echo(f"metrics at http://{address}:{port}/metrics")
        try:
            while thread.is_alive():
                time.sleep(1.0)
        except KeyboardInterrupt:
            server.shutdown()
