"""`reynard trace`: which documents a step saw, which steps saw a document, and with --sft the same of conversations, told from the store alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing

if TYPE_CHECKING:
    from tasks.artifacts.manifest import Manifest
    from tasks.artifacts.store import Store

JSON = dict[str, Any]
VISITS_SHOWN = 20
MODELS = ("release", "checkpoint")


def trace(
    step: Annotated[int, typer.Option(help="A step of pre-training, counted through all stages from 1, as in the journal and MLflow.")] = 0,
    rank: Annotated[int, typer.Option(help="Only what this worker was dealt.")] = -1,
    document: Annotated[str, typer.Option("--document", help="A document's id, or its first 6 or more digits.")] = "",
    sft: Annotated[bool, typer.Option("--sft", help="Trace fine-tuning: its own steps, from 1, and its conversations.")] = False,
    conversation: Annotated[str, typer.Option(help="With --sft: a conversation's number, or the address of its raw row (or its end).")] = "",
    run: Annotated[str, typer.Option(help="The run whose model is traced. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store, whose newest model is traced: a folder or s3://bucket/prefix.")] = "",
    model: Annotated[str, typer.Option(help="Another model: `name@version` of a checkpoint or release, or a released folder.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write what is known as JSON.")] = False,
) -> None:  # fmt: skip
    """Say which documents a step saw, or which steps saw a document; of fine-tuning, conversations."""
    if sft or conversation:
        return trace_chats(step, conversation, run, store, model, as_json)
    with refusing(BadInput, LookupError, OSError):
        if bool(step) == bool(document):
            raise BadInput("say what to trace: --step N or --document ID, one of them")
        if step < 0 or rank < -1:
            raise BadInput(f"--step {step}, --rank {rank}: steps count from 1 and ranks from 0")
        if document and not (len(document) >= 6 and set(document.lower()) <= set("0123456789abcdef")):
            raise BadInput(
                f"--document {document!r} is no id: give its first 6 or more hex digits; `reynard explain` finds one by its raw address"
            )
        from tasks.training.trace import Trace

        where = find_store(run, store)
        traced = Trace(where.store, find_model(where.store, model or where.versions.get("release-base", ""), where.run))
        found: Any = traced.step(step, None if rank < 0 else rank) if step else traced.document(document.lower())
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif step:
        show_step(found)
    else:
        for number, one in enumerate(found):
            typer.echo("\n" if number else "", nl=False)
            show_document(one)


def find_model(store: "Store", wanted: str, run: str) -> "Manifest":
    """Return the manifest of the model that is meant: named, the weights of a released folder, or the newest (of a run); BadInput if none."""
    from tasks.artifacts.manifest import read_manifest
    from tasks.artifacts.store import sha256_file

    folders = [key.removesuffix("/_SUCCESS") for kind in MODELS for key in store.list(kind) if key.endswith("/_SUCCESS")]
    found = [manifest for folder in folders if (manifest := read_manifest(store, folder)) and manifest.identity.get("section")]
    found.sort(key=lambda manifest: str(manifest.recorded.get("finished", "")), reverse=True)
    if (weights := Path(wanted) / "model.safetensors").is_file():
        digest = sha256_file(weights)
        match = [manifest for manifest in found if any(entry.sha256 == digest for entry in manifest.files)]
        missing = f"no release in {store.root} has the weights of {wanted} (sha256 {digest[:16]}): give the store that released it"
    elif wanted:
        name, _, version = wanted.rpartition("@")
        match = [manifest for manifest in found if manifest.version.startswith(version) and name in ("", manifest.name)]
        missing = f"{store.root} has no finished checkpoint or release {wanted!r}: give `name@version`, or the folder of a released model"
    else:
        match = [manifest for manifest in found if not run or manifest.recorded.get("run") == run] or found
        missing = f"{store.root} holds no finished checkpoint: let the run finish a stage of pre-training first"
    if not match:
        raise BadInput(missing)
    return match[0]


def show_step(found: JSON) -> None:
    """Print a step's sequences and their documents."""
    whose = f" of rank {found['rank']}" if found["rank"] is not None else ""
    typer.secho(
        f"step {found['step']:,}: step {found['stage_step']:,} of {found['stage_steps']:,} of {found['stage']}, "
        f"{found['tokens']:,} tokens in {len(found['sequences']):,} sequences{whose} (world size {found['world_size']})",
        bold=True,
    )
    verified = "its tokens have the hash that was taken when they were trained on"
    typer.secho(
        f"  verified: {verified}" if found["verified"] else f"  NOT verified: it is not so that {verified}",
        fg="green" if found["verified"] else "red",
    )
    shown = {name: found["journal"].get(name) for name in ("loss", "learning_rate", "gradient_norm")}
    typer.echo("  " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items() if value is not None))
    for sequence in found["sequences"]:
        typer.echo(f"rank {sequence['rank']}  {sequence['source']}  {sequence['tokens']:,} tokens from {sequence['start']:,} on")
        for row in sequence["documents"]:
            part = "whole" if row["to"] - row["from"] == row["tokens"] else f"tokens {row['from']:,} to {row['to']:,} of {row['tokens']:,}"
            typer.echo(f"  {row['id']}  {part}  {printable(row['raw'])}")


def show_document(one: JSON) -> None:
    """Print where a document lies and the steps that saw it."""
    typer.secho(f"document {one['id']} of {one['source']}: {one['tokens']:,} tokens", bold=True)
    typer.echo(f"  read from  {printable(one['raw'])}")
    typer.echo(f"  tokens     shard {one['shard']}, from {one['start']:,} on")
    if not one["seen"]:
        typer.echo("  no step saw it: the stages took other chunks of its source")
    for visit in one["seen"][:VISITS_SHOWN]:
        typer.echo(f"  step {visit['step']:>8,}  {visit['stage']}  rank {visit['rank']}  tokens {visit['from']:,} to {visit['to']:,}")
    if len(one["seen"]) > VISITS_SHOWN:
        typer.echo(f"  and {len(one['seen']) - VISITS_SHOWN:,} more: --json has all")


def trace_chats(step: int, conversation: str, run: str, store: str, model: str, as_json: bool) -> None:
    """Say which conversations a step of fine-tuning took, or which steps took a conversation."""
    with refusing(BadInput, LookupError, OSError):
        if (step > 0) == bool(conversation):
            raise BadInput("say what to trace in fine-tuning: --step N, from 1, or --conversation NUMBER or ADDRESS, one of them")
        from tasks.sft.trace import ChatTrace

        where = find_store(run, store)
        traced = ChatTrace(where.store, find_model(where.store, model or where.versions.get("release-chat", ""), where.run))
        if step:
            found: Any = traced.step(step)
        else:
            numbers = [int(conversation)] if conversation.isdecimal() else traced.find(conversation)
            found = [traced.conversation(number) for number in numbers]
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif step:
        show_chat_step(found)
    else:
        for one in found:
            show_conversation(one)
            typer.echo(f"  taken by step{'s' if len(one['steps']) > 1 else ''} {', '.join(map(str, one['steps'])) or 'none'}")


def show_chat_step(found: JSON) -> None:
    """Print the conversations of a step of fine-tuning."""
    head = f"step {found['step']:,} of {found['steps']:,} of {found['checkpoint']}: {len(found['conversations']):,} conversations"
    typer.secho(head, bold=True)
    said = "verified: its trained tokens have the hash that was taken when they were trained on"
    typer.secho(f"  {said}" if found["verified"] else f"  NOT {said}", fg="green" if found["verified"] else "red")
    for one in found["conversations"]:
        show_conversation(one)


def show_conversation(one: JSON) -> None:
    """Print where a conversation was read and how much of it is trained on."""
    size = f"{one['tokens']:,} tokens, {one['trained']:,} trained on, {one['turns']:,} turns"
    typer.echo(f"  {one['conversation']:>9,}  {one['source']}  {size}  {printable(one['raw'])}")
