"""The journals of a model's training to the loss curve that is released with it: a picture, and the rows that it was drawn from."""

import csv
import io
from pathlib import Path

import orjson

from tasks.artifacts.manifest import Manifest
from tasks.artifacts.store import Store

COLUMNS = ("stage", "step", "loss", "learning_rate")
LINE, STAGE, INK = "#4269d0", "#9aa0a6", "#202124"  # readable on white, and on the dark page that shows a white picture


def loss_rows(store: Store, trained: list[Manifest]) -> list[dict[str, str]]:
    """Return a row of text for each step of each stage, in order. Times and speeds, which differ between equal runs, are left out."""
    rows = []
    for manifest in trained:
        journal = store.local_copy(f"checkpoint/{manifest.version}/journal.jsonl", manifest.file("journal.jsonl").sha256)
        for line in journal.read_bytes().splitlines():
            row = orjson.loads(line)
            rate = row.get("learning_rate")
            told = {"stage": manifest.counts["stage"], "step": str(int(row["step"])), "loss": f"{row['loss']:.4f}"}
            rows.append(told | {"learning_rate": "" if rate is None else f"{rate:.6g}"})
    return rows


def loss_csv(rows: list[dict[str, str]]) -> bytes:
    """Write the rows as CSV."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def draw_loss(rows: list[dict[str, str]], path: Path) -> None:
    """Draw the loss over steps, stages side by side, fine-tuning in a part of its own; equal rows give equal bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [part for part in ([row for row in rows if row["stage"] != "sft"], [row for row in rows if row["stage"] == "sft"]) if part]
    size = {"gridspec_kw": {"width_ratios": [max(len(part), len(rows) // 4) for part in parts]}}
    figure, axes = pyplot.subplots(1, len(parts), figsize=(9, 3.2), dpi=120, squeeze=False, layout="constrained", **size)
    for axis, part in zip(axes[0], parts, strict=True):
        axis.plot([int(row["step"]) for row in part], [float(row["loss"]) for row in part], color=LINE, linewidth=1.2)
        starts = [row for before, row in zip([{"stage": ""}, *part], part, strict=False) if before["stage"] != row["stage"]]
        for row in starts:
            axis.axvline(int(row["step"]), color=STAGE, linewidth=0.8, linestyle=":")
            above = {"xycoords": ("data", "axes fraction"), "xytext": (3, -10), "textcoords": "offset points"}
            axis.annotate(row["stage"], (int(row["step"]), 1.0), fontsize=8, color=INK, **above)
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
        axis.set_axisbelow(True)
    axes[0][0].set_ylabel("loss, nats a token")
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
