"""`reynard lineage`: from a model back to its raw sources and their licences, or forward from a source to every model that saw it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, find_traced, printable, refusing

if TYPE_CHECKING:
    from rich.tree import Tree

    from tasks.artifacts.store import Store
    from tasks.lineage.graph import Graph

PARTS_SHOWN = 12


def lineage(
    model: Annotated[str, typer.Argument(help="A released folder, a run, `name@version` or a digest. Default: the latest run's chat model.")] = "",
    forward: Annotated[bool, typer.Option("--forward", help="What was made from it, instead of what it was made from.")] = False,
    source: Annotated[str, typer.Option(help="Forward from a raw source, by its name in the recipe.")] = "",
    run: Annotated[str, typer.Option(help="The run in whose store to look. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    html: Annotated[str, typer.Option(help="Write a page with the graph to this file.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write the manifests and who was made from whom as JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say whether MLflow agrees with the store: all of it, or what MODEL names.")] = False,
    mlflow: Annotated[str, typer.Option(help="MLflow's address for --check. Default: MLFLOW_TRACKING_URI, or the run's own.")] = "",
) -> None:  # fmt: skip
    """Show where a model comes from, or where a source went, from the artifact store alone."""
    with refusing(BadInput, OSError):
        if source and model:
            raise BadInput(f"MODEL {model!r} and --source {source!r} both say where to begin: give one of them")
        graph, roots, where, title = found_by(model, source, run, store)
        whole = check and not (model or source)  # MLflow is held against all that the store has
        shown = graph if whole else graph.forward(roots) if forward or source else graph.back(roots)
        if html:
            from tasks.lineage.page import lineage_page, lineage_panels

            subtitle = f"What was made from {title}." if forward or source else f"What {title} was made from."
            page = lineage_page(f"Lineage of {title}", subtitle, shown, where.root if where else "", lineage_panels(shown, roots))
            Path(html).write_text(page, encoding="utf-8")
    if as_json:
        typer.echo(orjson.dumps(plain(shown, roots), option=orjson.OPT_INDENT_2).decode())
    elif not check:
        print_tree(tree(shown, roots, forward or bool(source), title))
    if html:
        typer.echo(f"the graph is in {html}", err=as_json)
    if check:
        agree(where, shown, whole, mlflow or os.environ.get("MLFLOW_TRACKING_URI", "") or tracked_at([run, model, "latest"]))


def found_by(model: str, source: str, run: str, root: str) -> tuple["Graph", list[str], "Store | None", str]:
    """Return the graph, the places to begin from, the store and what they are called."""
    from tasks.lineage.affected import reached_by, sources_of
    from tasks.lineage.graph import store_graph

    if not source:
        found = find_traced(model, run, root)
        return found.graph, found.roots, found.store, found.title
    store = find_store(run, root).store
    graph = store_graph(store)
    raw = {place: sources_of(one) for place, one in graph.manifests.items() if one.kind == "raw"}
    roots = [place for place, names in raw.items() if source in names]
    if not roots:
        raise BadInput(
            f"no run read a source {source!r} into {store.root}: it has {', '.join(sorted(set().union(*raw.values()))) or 'none'}"
        )
    return reached_by(graph, source), roots, store, f"source {source}"


def plain(graph: "Graph", roots: list[str]) -> dict:
    """Return the graph as plain values."""
    return {
        "roots": roots, "missing": sorted(graph.missing),
        "artifacts": [{"place": place, "made_from": graph.parents[place]} | graph.manifests[place].model_dump() for place in graph.made],
    }  # fmt: skip


def tree(graph: "Graph", roots: list[str], forward: bool, title: str) -> "Tree":
    """Make the tree that the console shows; an artifact that was shown above is named, and not unfolded again."""
    from rich.text import Text
    from rich.tree import Tree

    from tasks.lineage.graph import label_of
    from tasks.lineage.words import headline, parts

    top, shown = (
        Tree(Text(printable(title), style="bold"), hide_root=len(roots) == 1 and label_of(graph.manifests[roots[0]]) == title),
        set(),
    )

    def hang(branch: Tree, place: str, role: str) -> None:
        one = graph.manifests[place]
        line = Text.assemble(
            (f"{role} " if role else "", "dim"), (label_of(one), "bold"), f"  {printable(headline(one))}  ", (one.digest[:16], "dim")
        )
        if place in shown:
            branch.add(line.append("  (above)", "dim"))
            return
        shown.add(place)
        own = branch.add(line)
        rows = parts(graph, place) if one.kind in ("raw", "documents", "checkpoint") else []
        for name, value, note in rows[:PARTS_SHOWN]:
            own.add(Text(printable(f"{name}  {value} {note}".rstrip()), style="dim" if one.kind != "raw" else ""))
        if len(rows) > PARTS_SHOWN:
            own.add(Text(f"and {len(rows) - PARTS_SHOWN} more", style="dim"))
        nearer = [(child, "") for child in graph.children[place]] if forward else [(at, role) for role, at in graph.parents[place].items()]
        for other, name in nearer:
            if graph.manifests[other].kind != "card":
                hang(own, other, name)

    for root in roots:
        if root in graph.manifests:
            hang(top, root, "")
    for place in sorted(graph.missing):
        top.add(Text(f"{place} is not there any more", style="yellow"))
    return top


def print_tree(made: "Tree") -> None:
    """Print a tree, as wide as the terminal; without one, lines are not cut."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=200, no_color=True)).print(made)


def agree(store: "Store | None", graph: "Graph", whole: bool, uri: str) -> None:
    """Compare the store with MLflow and print what differs; status 1 if something does."""
    with refusing(BadInput, OSError):
        if store is None:
            raise BadInput("--check compares a store with MLflow, and none was found: give --run or --store")
        if not uri:
            raise BadInput("where MLflow is is not known: give --mlflow, or set MLFLOW_TRACKING_URI")
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise BadInput(f"there is no MLflow database at {uri}: give --mlflow the address that the run was tracked at")
        from tasks.lineage.agreement import differences
        from tasks.runtime.outbox import Outbox
        from tasks.runtime.tracker import client

        try:
            compared, said = differences(client(uri), graph, store.root, whole)
        except Exception as error:  # whatever a tracker throws
            raise OSError(
                f"MLflow at {uri} does not answer ({type(error).__name__}: {str(error)[:200]}): the store alone is the record"
            ) from None
        owed = len(Outbox(store).owed())
    for line in said:
        typer.secho(printable(line), fg="red")
    if owed:
        typer.secho(f"{owed} notes were not sent to MLflow yet: `reynard track` sends them", fg="yellow")
    agreed = f"✓ MLflow agrees with the store: {len(graph.manifests)} artifacts, {compared} runs and model versions"
    typer.secho(f"✗ {len(said)} differences between MLflow and the store" if said else agreed, fg="red" if said else "green", bold=True)
    if said or owed:
        raise typer.Exit(1)


def tracked_at(runs: list[str]) -> str:
    """Return the address of the MLflow that tracks the first of some runs that is there (a name or a folder); empty if none is."""
    for run in runs:
        folder = Path(os.environ.get("REYNARD_RUNS", "runs")) / run
        if run and (file := folder / "summary.json").is_file():
            return orjson.loads(file.read_bytes())["locations"]["mlflow"]
        if run and (folder / "mlflow.db").is_file():
            return f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    return ""
