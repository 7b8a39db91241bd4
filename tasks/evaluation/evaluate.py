"""A model folder and held-out documents to scores: picks the suites, has their cards made, sums up.

The scoring process is `tasks.evaluation.harness`; it is asked through `tasks.evaluation.scorer`.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Evaluation
from tasks.artifacts.handles import Run
from tasks.artifacts.manifest import JSON
from tasks.evaluation.cards import Cards, Model, card_identity, summary
from tasks.evaluation.mirror import items_folder
from tasks.evaluation.scorer import Scorer, Setup
from tasks.evaluation.suites import benchmarks
from tasks.runtime.cluster import find_profile
from tasks.runtime.progress import Progress

ITEMS_SAID = {"sample": "committed sample of at most 100 items of each set", "hub": "the Hub's sets"}


@dataclass(frozen=True)
class HeldOut:
    """One source's held-out documents: a flat file of token ids of type `uint16` or `uint32`, and each document's
    (first token, tokens, UTF-8 bytes of its text)."""

    source: str
    path: str
    type: str
    documents: list[tuple[int, int, int]]
    key: str = ""  # of the file in the artifact store, for workers on other machines
    sha256: str = ""

    def within(self, tokens: int) -> "HeldOut":
        """Keep the first documents that have at most `tokens` tokens together, whole, and at least one."""
        kept, total = [], 0
        for document in self.documents:
            total += document[1]
            if kept and total > tokens:
                break
            kept.append(document)
        return replace(self, documents=kept)


def evaluate_checkpoint(
    run: Run, section: Evaluation, which: str, model: Model, held_out: list[HeldOut], tokens: str, scratch: Path
) -> JSON:
    """Score a model and return what the manifest of its scores records: `counts` and `details`.

    Base and chat models alike are shown the benchmarks' plain prompts, without a chat template, as both reports did. Bits per byte
    are over all sources together: total bits by total bytes. `tokens` is the digest of what the held-out documents come from.
    """
    documents = [source.within(section.held_out_tokens) for source in held_out if source.documents]
    if not documents:
        raise BadInput(
            "no source has a held-out document, but bits per byte need at least one: raise tokenization.held_out_fraction or add documents"
        )
    chosen = list(benchmarks(section, which))
    rows = [{"suite": suite, "task": one.task, "shots": one.shots, "metric": one.metric} for suite, one in chosen]
    items, profile = items_folder(section), find_profile(run.profile)
    setup = Setup(model.folder, str(items) if items else None, section.batch_size, "cuda" if profile.gpus_per_worker else None)
    with Scorer(setup, scratch / "scorer") as scorer:
        with Progress(f"evaluate {which}", 1.0, "of the sets") as progress:
            known = scorer.ask({"do": "describe", "benchmarks": rows}, progress)
        harness, about = known["harness"], known["benchmarks"]
        cards = Cards(run, profile, model, setup, scorer)
        pairs = list(zip(rows, about, strict=True))
        identities = [card_identity(model, row["task"], row["shots"], section.limit, harness, one["data"]) for row, one in pairs]
        made = cards.make(identities, {row["task"]: one["parts"] for row, one in pairs}, harness)
        measured = cards.held_out([asdict(source) for source in documents], tokens, section.held_out_tokens, harness)
    cards.forget()
    scored = [
        summary(row, one["metric"], card) | {"reported": benchmark.reported}
        for (row, one), card, (_, benchmark) in zip(pairs, made, chosen, strict=True)
    ]
    return {
        "counts": {
            "checkpoint": which,
            "scores": {f"{row['suite']}/{row['task']}": row["score"] for row in scored},
            "bits_per_byte": round(sum(row["bits"] for row in measured) / sum(row["bytes"] for row in measured), 6),
        },
        "details": {
            "benchmarks": scored,
            "held_out": {row["source"]: {key: value for key, value in row.items() if key != "source"} for row in measured},
            "harness": harness,
            "items": ITEMS_SAID[section.items] + (f", the first {section.limit:,} of each task" if section.limit else ", whole"),
        },
    }
