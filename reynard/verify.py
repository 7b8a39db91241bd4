"""`reynard verify`: every byte of a model again, from the released folder down to the raw sources that are at hand."""

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_traced, printable, refusing

if TYPE_CHECKING:
    from tasks.artifacts.manifest import Manifest
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

        title, checks, findings, artifacts, place = everything(model, run, store, raw)
        size = sum(bytes for bytes, _ in checks)
        with Progress(f"verify {title}", float(size), "B") as progress:
            findings += run_checks(checks, (lambda amount: None) if as_json else progress.advance)
    if as_json:
        typer.echo(orjson.dumps([one.__dict__ for one in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        show(title, artifacts, len(checks), size, findings, place)
    if any(one.kind != ABSENT for one in findings):
        raise typer.Exit(1)


def everything(wanted: str, run: str, root: str, raw: bool) -> tuple[str, list["Check"], list["Finding"], int, str]:
    """Return what a model is called, the checks of its files, what is wrong before any is read, how many artifacts it came from, and where they are.

    If manifests are so damaged that the model cannot be told among them, these are what is wrong.
    """
    from tasks.lineage.verify import DAMAGED, Finding, Walk, raw_checks, told_findings

    altered: list[str] = []
    damaged = "is not what _SUCCESS says, or is gone: no artifact can be told by it"
    try:
        model = find_traced(wanted, run, root, altered)
    except BadInput:
        if not altered:
            raise
        return wanted, [], [Finding(DAMAGED, place, "manifest.json", damaged) for place in altered], 0, ""
    if model.store is None:
        manifests = model.graph.manifests
        findings = [Finding(DAMAGED, place, "manifest.json", damaged) for place in altered] + told_findings(manifests)
        checks: list[Check] = []
        pinning = manifests
    else:
        walk = Walk.of(model.store, model.roots)
        manifests, findings, checks, pinning = walk.manifests, walk.findings, walk.checks(), walk.sealed
    if model.folder is not None:
        more, extra = of_folder(model, manifests)
        checks, findings = [*more, *checks], [*findings, *extra]
    place = model.store.root if model.store is not None else ""
    return model.title, checks + (raw_checks(pinning) if raw else []), findings, len(manifests), place


def of_folder(model: "Model", manifests: dict[str, "Manifest"]) -> tuple[list["Check"], list["Finding"]]:
    """Return the checks of a released folder against its artifact, or without a store against its own checksums; BadInput if it has neither."""
    from tasks.artifacts.manifest import FileEntry
    from tasks.lineage.verify import check_sums, folder_checks
    from tasks.openness.folder import RECORDS as OPENNESS_RECORDS
    from tasks.openness.signature import SIGNATURE  # `reynard sign --check` is for that
    from tasks.release.contents import RECORDS

    assert model.folder is not None
    release = manifests.get(model.roots[0]) if model.store is not None else None
    if release is not None:
        inside = [entry for entry in [*release.files, *release.records] if entry.path.startswith("model/")]
        entries = [FileEntry(path=entry.path.removeprefix("model/"), bytes=entry.bytes, sha256=entry.sha256) for entry in inside]
        return folder_checks(model.folder, entries, (SIGNATURE,))
    if not (model.folder / "SHA256SUMS").is_file():
        raise BadInput(f"{model.folder} has no SHA256SUMS, and no store at hand released it: give its store (--store)")
    return check_sums(model.folder, (*RECORDS, *OPENNESS_RECORDS), (SIGNATURE,))


def show(title: str, artifacts: int, files: int, size: float, findings: list["Finding"], place: str) -> None:
    """Print what was found, by kind, and one line on all, with the store that was read."""
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
    typer.echo(f"  held against {printable(place)}" if place else "  held against what lies in the folder itself: no store is at hand")
