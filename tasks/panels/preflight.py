"""A recipe and its opened run to the panel that says what is about to be made, from what, and where it will be found."""

from typing import Any

from recipes.schema import Recipe
from tasks.panels.formats import amount, compact, count, escaped
from tasks.panels.links import link
from tasks.panels.markup import Cell, Markup, panel, right, table

Pinned = dict[str, list[list[Any]]]  # [address, bytes, mark] of each file, by source


def started(recipe: Recipe, run: dict[str, Any], refused_for: list[str], pinned: Pinned) -> str:
    """Show what a run will read and train, where its artifacts and metrics go, and why its release would be refused."""
    tokens = sum(stage.tokens for stage in recipe.pretraining.stages)
    lead = f"Recipe {recipe.name}: a model of {count(recipe.model.parameter_count())} parameters, {compact(tokens)} tokens in "
    lead += f"{amount(len(recipe.pretraining.stages), 'stage')}."
    tracked = run["tracking_uri"].startswith(("http://", "https://")) and run["tracking_run"]
    address = f"{run['tracking_uri'].rstrip('/')}/#/runs/{run['tracking_run']}"
    rows: list[list[Cell]] = [["profile", run["profile"]], ["artifacts", Markup(f"<code>{escaped(run['store'])}</code>")]]
    rows.append(["MLflow", Markup(link("run in MLflow", address)) if tracked else run["tracking_uri"]])
    return panel(
        f"Run {run['name']}", lead, table("Where it goes", ["what", "where"], rows), trained(recipe), read(recipe, pinned), refused(refused_for)
    )  # fmt: skip


def refused(reasons: list[str]) -> str:
    """List why the release of such a run would be refused, which is known before anything is spent."""
    mark = Markup('<span class="bad">✗ refused</span>')
    return table("Its release will be refused", ["result", "why"], [[mark, reason] for reason in reasons]) if reasons else ""


def trained(recipe: Recipe) -> str:
    """List the stages of pre-training: steps, tokens, the batch and the sources of each."""
    rows: list[list[Cell]] = [
        [stage.name, stage.steps, right(compact(stage.tokens)), stage.batch_tokens, ", ".join(entry.source for entry in stage.mixture)]
        for stage in recipe.pretraining.stages
    ]
    return table("What it trains on", ["stage", "steps", "tokens", "batch, tokens", "sources"], rows)


def read(recipe: Recipe, pinned: Pinned) -> str:
    """List the raw sources by size, each with its licence; their files are pinned by content."""
    licences = {source.name: source.licence for source in [*recipe.curation.sources, *recipe.sft.sources]}
    sizes = {name: sum(file[1] for file in files) for name, files in pinned.items()}
    rows: list[list[Cell]] = [
        [name, licences[name], len(pinned[name]), right(f"{compact(sizes[name])}B")]
        for name in sorted(sizes, key=lambda name: -sizes[name])
    ]
    columns = ["source", "licence", "files", "size"]
    return table("What it reads, pinned by content", columns, rows) if rows else ""
