"""`reynard publish`: a released folder, or all that a run released, to repositories of the Hugging Face Hub."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing

if TYPE_CHECKING:
    from tasks.artifacts.manifest import Manifest
    from tasks.artifacts.store import Store
    from tasks.hub.contents import Revision

NOBODY = "ACCOUNT"  # whose name a dry run does not ask for


def publish(
    folder: Annotated[Path | None, typer.Argument(help="A released folder, such as runs/latest/release/chat: that model alone.")] = None,
    run: Annotated[str, typer.Option(help="A run, of which everything is published: both models, checkpoints, data. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store, of whose newest release everything is published: a folder or s3://bucket/prefix.")] = "",
    organization: Annotated[str, typer.Option(help="The Hub's account. Default: the recipe's, or the token's own.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be created and uploaded; needs no token and no network.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Create repositories private. Those that are there stay as they are.")] = False,
) -> None:  # fmt: skip
    """Publish to the Hugging Face Hub (HF_TOKEN, HF_ENDPOINT). May be killed and run again: what is there is not sent again."""
    with refusing(BadInput, OSError):
        from tasks.hub.client import Hub, endpoint, token
        from tasks.hub.publish import Publisher, listing

        revisions, named = gather(folder, run, store)
        account = organization or named
        if dry_run:
            for line in listing(revisions, account or NOBODY, endpoint(), private):
                typer.echo(printable(line))
            return
        Publisher(Hub(endpoint(), token()), private, say).publish(revisions, account)


def gather(folder: Path | None, run: str, store: str) -> "tuple[list[Revision], str]":
    """Return what is to be published, and under which account the recipe says so."""
    from tasks.hub.releases import folder_revision, release_section, released_manifests, run_revisions

    if folder is not None:
        if run or store:
            raise BadInput(f"{folder} is one released folder, and --run and --store name a whole run: give one of them")
        if folder.resolve().name.endswith(".candidate"):
            raise BadInput(f"{folder} waits for a person's approval: give it by `reynard run RECIPE --approve`, then publish the release")
        revision, section = folder_revision(folder)
        return [revision], section.organization
    where = find_store(run, store)
    releases = released_manifests(where.store, where.run if where.is_own else "", where.versions)
    section = release_section(releases["base"].identity["section"])
    if section.approval:
        refuse_unapproved(where.store, list(releases.values()))
    home = Path(os.environ.get("REYNARD_RUNS", "runs")) / where.run if where.run else None
    revisions = run_revisions(where.store, releases, home / "release" if home else None, say)
    return revisions, section.organization


def refuse_unapproved(store: "Store", releases: "list[Manifest]") -> None:
    """Raise BadInput for a release that a person has yet to approve."""
    from tasks.release.approval import is_approved

    for one in releases:
        if not is_approved(store, one):
            raise BadInput(
                f"{one.name}@{one.version[:8]} waits for a person's approval: give it by `reynard run RECIPE --approve`, then publish"
            )


def say(line: str) -> None:
    """Print a line on what happens."""
    typer.echo(printable(line))
