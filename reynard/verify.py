"""`reynard verify`: every byte of a model again, from the released folder down to the raw sources that are at hand."""

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_traced, printable, refusing

if TYPE_CHECKING:
    from tasks.lineage.models import Model
    from tasks.lineage.verify import Check, Finding

SHOWN = 20
COLOURS = {"damaged": "red", "not sealed": "red", "not at hand": "yellow"}


def verify(
    model: Annotated[str, typer.Argument(help="A released folder, a run, `name@version` or a digest. Default: the latest run's chat model.")] = "",
    run: Annotated[str, typer.Option(help="The run in whose store to look. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    raw: Annotated[bool, typer.Option(help="Read raw files again, too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as JSON.")] = False,
) -> None:  # fmt: skip
    """Recompute every digest of a model and all it came from; name what differs, and what could not be looked at."""
    with refusing(BadInput, OSError):
        from tasks.lineage.verify import ABSENT, run_checks
        from tasks.runtime.progress import Progress

        found = find_traced(model, run, store)
        checks, findings, artifacts = everything(found, raw)
        size = sum(bytes for bytes, _ in checks)
        with Progress(f"verify {found.title}", float(size), "B") as progress:
            findings += run_checks(checks, (lambda amount: None) if as_json else progress.advance)
    if as_json:
        typer.echo(orjson.dumps([one.__dict__ for one in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        show(found.title, artifacts, len(checks), size, findings)
    if any(one.kind != ABSENT for one in findings):
        raise typer.Exit(1)


def everything(model: "Model", raw: bool) -> tuple[list["Check"], list["Finding"], int]:
    """Return the checks of a model's files, what is wrong before any is read, and how many artifacts it came from."""
    from tasks.artifacts.manifest import FileEntry
    from tasks.lineage.verify import Walk, check_sums, folder_checks, raw_checks, told_findings

    checks, findings = [], []
    if model.store is None:
        manifests = model.graph.manifests
        findings += told_findings(manifests)
    else:
        walk = Walk.of(model.store, model.roots)
        manifests, findings = walk.manifests, walk.findings
        checks += walk.checks()
    if model.folder is not None:
        release = manifests.get(model.roots[0])
        if model.store is not None and release is not None:
            entries = [
                FileEntry(path=e.path[6:], bytes=e.bytes, sha256=e.sha256)
                for e in [*release.files, *release.records]
                if e.path.startswith("model/")
            ]
            more, extra = folder_checks(model.folder, entries)
        elif (model.folder / "SHA256SUMS").is_file():
            more, extra = check_sums(model.folder)
        else:
            raise BadInput(f"{model.folder} has no SHA256SUMS, and no store at hand released it: give its store (--store)")
        checks, findings = [*more, *checks], [*findings, *extra]
    return checks + (raw_checks(manifests) if raw else []), findings, len(manifests)


def show(title: str, artifacts: int, files: int, size: float, findings: list["Finding"]) -> None:
    """Print what was found, by kind, and one line on all."""
    from tasks.lineage.verify import counted
    from tasks.panels.formats import compact

    numbers = counted(findings)
    for kind, number in numbers.items():
        mine = [one for one in findings if one.kind == kind]
        for one in mine[:SHOWN]:
            typer.secho(f"{kind}: {printable(one.artifact)}  {printable(one.file)}  {printable(one.said)}", fg=COLOURS[kind])
        if number > SHOWN:
            typer.secho(f"{kind}: and {number - SHOWN:,} more, which --json lists", fg=COLOURS[kind])
    bad = numbers["damaged"] + numbers["not sealed"]
    absent = f"; {numbers['not at hand']:,} not at hand, and not looked at" if numbers["not at hand"] else ""
    head = "✗ not as it was sealed" if bad else "✓ as it was sealed"
    typer.secho(
        f"{head}: {title}, {artifacts:,} artifacts, {files:,} files, {compact(size)}B{absent}", fg="red" if bad else "green", bold=True
    )
