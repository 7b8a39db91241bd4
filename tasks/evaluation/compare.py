"""Cards of our checkpoints and a report's table to one comparison: scores with 95 % intervals beside what the report printed.

Cards are set side by side if they were made alike: same shots, task hash (documents, prompts and targets), harness, limit, prompts and
precision. Otherwise the comparison is refused. Two of our models answered the same items, so their difference is measured item by item:
its interval comes from samples of the items, drawn with replacement.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON, Manifest, digest_of, sealed
from tasks.artifacts.store import Store
from tasks.evaluation.cards import KIND
from tasks.evaluation.reported import TABLES, Column, Table
from tasks.evaluation.samples import FILE, read_rows
from tasks.runtime.production import Reader

NORMAL_95 = 1.959964  # two-sided
RESAMPLES, SEED = 10_000, 0


@dataclass
class Entry:
    """One of our models: its cards by (task, shots), and what other tools found."""

    name: str
    cards: dict[tuple[str, int], Manifest] = field(default_factory=dict)
    mt_bench: JSON | None = None


def find_entries(store: Store, labels: Sequence[str]) -> list[Entry]:
    """Return the models that labels mean, all scores of the store by default; BadInput for a label that means none.

    A label is scores or a card (`name@version` or a part), a checkpoint's name, or the `summary.json` of an MT-Bench run; cards of one
    set of weights, and an MT-Bench summary that tells the weights, belong to one model.
    """
    cards, scores = (sorted(sealed(store, kind), key=lambda one: (one.name, one.version)) for kind in (KIND, "scores"))
    by_label = {f"{one.name}@{one.version}": one for one in cards}
    found: list[Entry] = []
    for label in labels or [f"{one.name}@{one.version}" for one in scores]:
        if label.endswith(".json"):
            found.append(read_mt_bench(Path(label)))
            continue
        meant = [one for one in [*scores, *cards] if matches(one, label)]
        if not meant:
            raise BadInput(f"{store.root} has no scores and no card {label!r}: run an evaluation first, or name one of its labels")
        for one in meant:
            own = [one] if one.kind == KIND else [by_label[row["card"]] for row in one.details["benchmarks"] if row.get("card") in by_label]
            name = (
                f"{one.name.removeprefix('scores-')}@{one.version[:8]}"
                if one.kind != KIND
                else f"weights {one.identity['section']['weights'][:8]}"
            )
            entry = next((other for other in found if other.name == name), None) or Entry(name)
            entry.cards |= {(card.counts["task"], card.counts["shots"]): card for card in own}
            found += [] if entry in found else [entry]
    if not found:
        raise BadInput(f"{store.root} has no scores: run `reynard run RECIPE --workflow evaluate` first")
    return found


def matches(one: Manifest, label: str) -> bool:
    """Tell whether a label means an artifact: its name, its version's beginning, or both; or the checkpoint that was scored."""
    name, at, version = label.rpartition("@")
    if at:
        return one.version.startswith(version) and name in (one.name, "")
    checkpoint = one.identity.get("parent_artifacts", {}).get("checkpoint", {}).get("name")
    return label in (one.name, one.version, one.version[:8]) or (one.kind != KIND and label == checkpoint)


def read_mt_bench(path: Path) -> Entry:
    """Read the summary of an MT-Bench run; BadInput if the file is none."""
    try:
        said = json.loads(path.read_text())
        entry = Entry(str(said["setup"]["model_name"]), mt_bench=said)
        assert said["summary"]["overall"]["mean"] is None or said["summary"]["overall"]["low"] <= said["summary"]["overall"]["high"]
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise BadInput(
            f"{path} is no summary of an MT-Bench run ({type(error).__name__}): give the summary.json of `reynard mt-bench`"
        ) from None
    return entry


def compare(store: Store, entries: Sequence[Entry], table: str) -> JSON:
    """Return a table's rows, the report's and ours, with intervals; the differences between ours; and notes. BadInput for unlike cards."""
    if table not in TABLES:
        raise BadInput(f"there is no table {table!r}: choose one of {', '.join(TABLES)}")
    printed = TABLES[table]
    columns = [part for column in printed.columns for part in (column.of or (column,))]
    refuse_unlike(entries, list(dict.fromkeys(columns)), table)
    ours = [{"name": entry.name, "reported": False, "values": [value_of(entry, column) for column in printed.columns]} for entry in entries]
    if not any(value for row in ours for value in row["values"]):
        raise BadInput(f"none of {', '.join(entry.name for entry in entries)} has a score of {table}: it needs {needs(printed)}")
    reported = [
        {"name": name, "reported": True, "values": [None if one is None else {"score": one} for one in values]}
        for name, values in printed.rows
    ]
    limits = {card.details["limit"] for entry in entries for column in columns if (card := card_of(entry, column))}
    return {
        "table": table, "source": printed.source, "rows": [*ours, *reported],
        "columns": [{"title": one.title, "shots": one.shots if one.task else None, "unit": one.unit} for one in printed.columns],
        "differences": [one for entry in entries[1:] for one in differences(store, entries[0], entry, list(dict.fromkeys(columns)))],
        "limit": next(iter(limits), None),
    }  # fmt: skip


def needs(table: Table) -> str:
    """Say which benchmarks fill a table."""
    columns = dict.fromkeys(part for column in table.columns for part in (column.of or (column,)))
    return ", ".join(f"{one.task} with {one.shots} shots" if one.task else f"the summary.json of {one.title}" for one in columns)


def card_of(entry: Entry, column: Column) -> Manifest | None:
    """Return an entry's card for a column."""
    return entry.cards.get((column.task, column.shots))


def refuse_unlike(entries: Sequence[Entry], columns: Sequence[Column], table: str) -> None:
    """Raise BadInput, in one sentence, for the first pair of cards that were not made alike, or shots that are not the table's."""
    for column in columns:
        for entry in entries:
            others = sorted(shots for task, shots in entry.cards if task == column.task)
            if column.task and others and column.shots not in others:
                raise BadInput(
                    f"{entry.name} has {column.task} with {others[0]} shots, but {table} has it with {column.shots}: "
                    f"they cannot be compared, so add it with {column.shots} shots to a suite and evaluate"
                )
        made = [(entry, card) for entry in entries if (card := card_of(entry, column))]
        for entry, card in made[1:]:
            first, one, other = made[0][0], marks(made[0][1]), marks(card)
            for name in one:
                if one[name] != other[name]:
                    raise BadInput(
                        f"{first.name} and {entry.name} cannot be compared on {column.task}: their {name} differ "
                        f"({short(one[name])} and {short(other[name])}); evaluate both alike"
                    )
    judged = [entry for entry in entries if entry.mt_bench and entry.mt_bench["summary"]["overall"]["mean"] is not None]
    for entry in judged[1:]:
        one, other = ({"judges": e.mt_bench["setup"].get("judge_name"), "questions": e.mt_bench["setup"].get("data", {}).get("sha256")}
                      for e in (judged[0], entry))  # fmt: skip
        for name in one:
            if one[name] != other[name]:
                raise BadInput(f"{judged[0].name} and {entry.name} cannot be compared on MT-Bench: their {name} differ; judge both alike")


def marks(card: Manifest) -> JSON:
    """Return what has to be equal in two cards."""
    harness = card.details["harness"]
    return {
        "harness versions": harness["lm_eval"], "limits": card.details["limit"], "prompts": harness["prompts"],
        "shots": card.counts["shots"], "task hashes": digest_of(card.details["task_hashes"]), "precisions": harness["precision"],
    }  # fmt: skip


def short(value: object) -> str:
    """Write a mark in a few characters."""
    return "none" if value is None else str(value)[:24]


def keys_of(card: Manifest, column: Column) -> tuple[str, str]:
    """Return the metric and the filter that a column means: without a filter, the task's first."""
    found = card.counts["results"][column.task]
    metric, _, chosen = column.metric.partition(",")
    return metric, chosen or next(key.partition(",")[2] for key in found if key.partition(",")[0] == metric)


def value_of(entry: Entry, column: Column) -> JSON | None:
    """Return an entry's score in a column with its 95 % interval and items, in the column's unit, or None."""
    if column.of:
        parts = [value_of(entry, part) for part in column.of]
        if any(part is None for part in parts):
            return None
        error = math.sqrt(sum(part["error"] ** 2 for part in parts)) / len(parts)
        return interval(sum(part["score"] for part in parts) / len(parts), error, sum(part["items"] for part in parts))
    if not column.task:
        overall = (entry.mt_bench or {}).get("summary", {}).get("overall", {})
        if overall.get("mean") is None:
            return None
        return {"score": overall["mean"], "low": overall["low"], "high": overall["high"], "items": overall["ratings"], "error": 0.0}
    if (card := card_of(entry, column)) is None:
        return None
    metric, chosen = keys_of(card, column)
    found = card.counts["results"][column.task]
    return interval(100 * found[f"{metric},{chosen}"], 100 * found.get(f"{metric}_stderr,{chosen}", 0.0), card.counts["items"])


def interval(score: float, error: float, items: int) -> JSON:
    """Return a score with the 95 % interval of its standard error, in percent; where none or all is right, Wilson's."""
    low, high = max(0.0, score - NORMAL_95 * error), min(100.0, score + NORMAL_95 * error)
    if score in (0.0, 100.0) and not error:  # an error of zero would claim to be certain
        room = 100 * NORMAL_95**2 / (items + NORMAL_95**2)
        low, high = (0.0, room) if score == 0.0 else (100.0 - room, 100.0)
    return {"score": round(score, 4), "low": round(low, 4), "high": round(high, 4), "items": items, "error": round(error, 4)}


def differences(store: Store, first: Entry, second: Entry, columns: Sequence[Column]) -> list[JSON]:
    """Return by how much the second entry scores above the first on each task that both have, with 95 % intervals over shared items."""
    found = []
    for column in columns:
        one, other = card_of(first, column), card_of(second, column)
        if one is None or other is None or one.version == other.version:
            continue
        pair = [item_values(store, card, column) for card in (one, other)]
        low, high = paired_interval(pair[1] - pair[0])
        found.append({
            "of": second.name, "above": first.name, "task": column.task, "shots": column.shots,
            "difference": round(100 * float((pair[1] - pair[0]).mean()), 4), "low": round(100 * low, 4), "high": round(100 * high, 4),
        })  # fmt: skip
    return found


def item_values(store: Store, card: Manifest, column: Column) -> np.ndarray:
    """Return a card's metric item by item, in the order that equal task hashes promise."""
    metric, chosen = keys_of(card, column)
    return np.array([row["metrics"][chosen][metric] for row in read_rows(Reader(store, card).path(FILE))], dtype=np.float64)


def paired_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences over 10,000 samples of the items, the same in every run."""
    dice = np.random.default_rng(SEED)
    means = np.concatenate([values[dice.integers(0, len(values), (100, len(values)))].mean(1) for _ in range(RESAMPLES // 100)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
