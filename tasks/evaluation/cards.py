"""Benchmarks of a model to cards: sealed artifacts, one for each task and number of shots, each answered once.

A card is found by what decides it: the weights, the tokenizer, the task with its shots and limit, the harness's version, the bytes of
its data sets, precision, prompts and seeds, and the code that asks. Suites, recipes and checkpoints that agree in these share it. What
is missing is answered as a step (`tasks.runtime.steps`), each card by itself: in one process on a machine without GPUs or with its own,
on Ray with a profile's GPUs. So whatever was answered before a crash is not answered again.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipes.errors import BadInput
from tasks.artifacts.handles import Checkpoint, Run
from tasks.artifacts.manifest import JSON, Manifest, digest_of, read_manifest, sealed
from tasks.artifacts.store import Store, open_store, sha256_file
from tasks.evaluation.samples import FILE
from tasks.evaluation.scorer import Scorer, Setup
from tasks.runtime.cluster import Profile
from tasks.runtime.code import code_digest
from tasks.runtime.production import Production, identity_of, version_of
from tasks.runtime.progress import Progress
from tasks.runtime.steps import Done, Item, Output, Steps

KIND, CODE, FOLDER = "card", "tasks.evaluation.harness", "working/evaluation"
TOKENIZER = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges")  # beginnings of a tokenizer's file names

_open: dict[Setup, Scorer] = {}  # the scoring process that this process keeps, if any


@dataclass(frozen=True)
class Model:
    """A model folder, the digests of its two parts, and the checkpoint that it was exported from, if it was."""

    folder: str
    weights: str
    tokenizer: str
    checkpoint: Checkpoint | None = None


def read_model(folder: Path, checkpoint: Checkpoint | None = None) -> Model:
    """Take the digests of a model folder's files: of the tokenizer's, and of all others."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    own = {name: digest for name, digest in files.items() if name.startswith(TOKENIZER)}
    return Model(str(folder), digest_of({k: v for k, v in files.items() if k not in own}), digest_of(own), checkpoint)


def card_identity(model: Model, task: str, shots: int, limit: int | None, harness: JSON, data: JSON) -> JSON:
    """Return what decides a card besides the code that asks."""
    return {
        "task": task, "shots": shots, "limit": limit, "weights": model.weights, "tokenizer": model.tokenizer, "data": data,
        "harness": harness["lm_eval"], "precision": harness["precision"], "prompts": harness["prompts"], "seeds": harness["seeds"],
    }  # fmt: skip


class Cards:
    """Makes what a model's evaluation needs and the store does not have."""

    def __init__(self, run: Run, profile: Profile, model: Model, setup: Setup, scorer: Scorer) -> None:
        self.run, self.profile, self.model, self.setup, self.scorer = run, profile, model, setup, scorer
        self.on_ray = profile.gpus_per_worker > 0
        # of this checkpoint alone, so that one with the same weights, scored at the same time, deletes nothing that is needed here
        folder = f"{FOLDER}/{model.checkpoint.version if model.checkpoint else model.weights[:16]}"
        self.steps = Steps(open_store(run.store), folder, profile.workers if self.on_ray else 0, gpus=float(profile.gpus_per_worker))

    def make(self, identities: list[JSON], parts: dict[str, int], harness: JSON) -> list[Manifest]:
        """Return the cards of identities, in order; `parts` is how many tasks a task stands for."""
        places = [f"{KIND}/{version_of(identity_of(KIND, identity, {}, CODE))}" for identity in identities]
        found = {place: read_manifest(self.steps.store, place) for place in dict.fromkeys(places)}
        missing = {place: identity for place, identity in zip(places, identities, strict=True) if found[place] is None}
        items = [
            Item(identity, self._work(identity), float((1 + identity["shots"]) * parts[identity["task"]])) for identity in missing.values()
        ]
        for (place, identity), done in zip(missing.items(), self._run("cards", make_card, items), strict=True):
            found[place] = self._seal(identity, done, harness)
        return [manifest for place in places if (manifest := found[place])]

    def held_out(self, sources: list[JSON], tokens: str, limit: int, harness: JSON) -> list[JSON]:
        """Measure the bits per byte of sources, at most `limit` tokens of each; `tokens` is the digest of the artifact they come from."""
        mark = {"weights": self.model.weights, "tokens": tokens, "limit": limit, "precision": harness["precision"]}
        work = self._work({})
        items = [Item(mark | {"source": source["source"]}, work | {"source": source}) for source in sources]
        return [done.counts for done in self._run("held-out", measure_source, items)]

    def forget(self) -> None:
        """Delete what was needed until all was sealed."""
        self.steps.forget(())

    def _work(self, identity: JSON) -> JSON:
        asked = {name: identity.get(name) for name in ("task", "shots", "limit")}
        return {"setup": self.setup, "checkpoint": self.model.checkpoint, "question": asked}

    def _run(self, step: str, function: Any, items: list[Item]) -> list[Done]:
        code = code_digest(CODE)
        if self.on_ray:
            return self.steps.run(step, function, items, code)
        _open[self.setup] = self.scorer
        try:
            return self.steps.run(step, function, items, code)
        finally:
            _open.pop(self.setup)

    def _seal(self, identity: JSON, done: Done, harness: JSON) -> Manifest:
        name = f"card-{identity['task']}-{identity['shots']}-shot"
        with Production(self.run, KIND, name, identity, {}, CODE) as made:
            if made.needed:
                entry = done.files[FILE]
                made.adopt_file(done.key(FILE), FILE, entry["bytes"], entry["sha256"])
                counts = {key: identity[key] for key in ("task", "shots")} | {
                    "items": done.counts["items"],
                    "results": done.counts["results"],
                }
                rest = {key: value for key, value in done.counts.items() if key not in counts}
                made.seal(counts, rest | {"harness": harness, "limit": identity["limit"], "data": identity["data"]}, self._origin())
        assert made.manifest is not None
        return made.manifest

    def _origin(self) -> JSON:
        """Return the checkpoint that was answered for; others with the same weights share its cards."""
        one = self.model.checkpoint
        return {"checkpoint": {"name": one.name, "version": one.version} if one else None}


def make_card(store: Store, work: JSON, output: Output) -> JSON:
    """Have one card's items answered; its rows become the file, what they sum up to the counts."""
    rows = output.scratch / FILE
    question = {"do": "card", "samples": str(rows)} | work["question"]
    counts = _ask(store, work, output, question, f"evaluate {question['task']}")
    output.add(rows, FILE)
    return counts


def measure_source(store: Store, work: JSON, output: Output) -> JSON:
    """Measure one source's held-out documents, fetched to this machine if they do not lie on it."""
    source = work["source"]
    if source.get("key"):
        source = source | {"path": str(store.local_copy(source["key"], source["sha256"]))}
    return _ask(store, work, output, {"do": "held_out", "source": source}, "held-out loss")


def _ask(store: Store, work: JSON, output: Output, question: JSON, label: str) -> JSON:
    """Ask the process at hand, or one started for this question; a model that does not lie on this machine is exported here."""
    setup: Setup = work["setup"]
    with Progress(label, 1.0, "of it") as progress:
        if setup in _open:
            return _open[setup].ask(question, progress)
        if not Path(setup.model).is_dir():
            setup = replace(setup, model=str(_export(store, work["checkpoint"], output.scratch)))
        with Scorer(setup, output.scratch / "scorer") as scorer:
            return scorer.ask(question, progress)


def _export(store: Store, checkpoint: Checkpoint, scratch: Path) -> Path:
    """Write a checkpoint's model folder."""
    from tasks.model.export import export
    from tasks.runtime.production import Reader

    manifest = read_manifest(store, store.key(checkpoint.uri).removesuffix("/manifest.json"))
    if manifest is None:
        raise FileNotFoundError(f"{checkpoint.label} is not (or no longer) in the artifact store at {checkpoint.uri}")
    export(Reader(store, manifest).place("", scratch / "checkpoint"), scratch / "model", chat_template=None)
    return scratch / "model"


def summary(row: JSON, metric: str, card: Manifest) -> JSON:
    """Pick a benchmark's row from its card, in percent. Chance is given where a score counts right choices."""
    found = card.counts["results"][row["task"]]
    name, _, chosen = metric.partition(",")
    error = found.get(f"{name}_stderr,{chosen}")
    hashes = card.details["task_hashes"]
    return row | {
        "metric": metric.removesuffix(",none"),
        "score": round(100 * found[metric], 4),
        "stderr": None if error is None else round(100 * error, 4),
        "items": card.counts["items"],
        "chance": card.details["chance"] if name in ("acc", "acc_norm") else None,
        "version": card.details["versions"].get(row["task"]),
        "task_hash": hashes[row["task"]] if len(hashes) == 1 and row["task"] in hashes else digest_of(hashes),
        "limit": card.details["limit"],
        "card": f"{card.name}@{card.version}",
    }


def find_cards(store: Store, label: str) -> list[Manifest]:
    """Return the cards that a label means: one card, those of scores, or all; BadInput if there are none. A label is name@version or a part."""
    every = sealed(store, KIND)
    if not label:
        found = every
    else:
        name, _, version = label.rpartition("@")
        meant = [one for one in [*every, *sealed(store, "scores")] if label in (one.name, one.version[:8]) or (
            version and one.version.startswith(version) and name in ("", one.name))]  # fmt: skip
        wanted = {row["card"] for one in meant if one.kind != KIND for row in one.details["benchmarks"] if "card" in row}
        found = [one for one in every if one in meant or f"{one.name}@{one.version}" in wanted]
    if not found:
        raise BadInput(f"{store.root} has no card {label!r}: name a card or scores as `name@version`, or run an evaluation first")
    return found
