"""`reynard explain`: what happened to a document, and why, told from the artifact store alone."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from pydantic import ValidationError

from recipes.curation import DERIVED, Curation, Source
from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing

if TYPE_CHECKING:
    from tasks.artifacts.manifest import Manifest
    from tasks.artifacts.store import Store
    from tasks.artifacts.verdicts import Place, Verdicts

RECORDS_SHOWN, DUPLICATES_SHOWN, LINES_SHOWN, TEXT_CHARACTERS = 5, 5, 8, 1_000
ID = re.compile(r"[0-9a-f]{6,32}")
FAULTS = ("unreadable", "crashed")
JSON = dict[str, Any]


class NotOne(LookupError):
    """What was asked for is no document, or more than one."""


def explain(
    document: Annotated[str, typer.Option("--document", help="A document's id, its first 6 or more digits, or a raw record's address.")],
    run: Annotated[str, typer.Option(help="The run whose documents are looked through. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store, whose newest documents are looked through: a folder or s3://bucket/prefix.")] = "",
    every: Annotated[bool, typer.Option("--every", help="Look through all documents artifacts of the store, not only the newest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write what is known as JSON.")] = False,
) -> None:  # fmt: skip
    """Say what happened to a document and why: kept, or dropped by which rule, with what was measured."""
    from tasks.artifacts.verdicts import Verdicts

    with refusing(BadInput, NotOne, OSError):
        root, manifests = artifacts(run, store)
        found: list[JSON] = []
        for manifest in manifests if every else manifests[:1]:
            found += explanations(Verdicts(root, manifest), document)
        if not found:
            looked = f"{len(manifests)} documents artifacts" if every and len(manifests) > 1 else label(manifests[0])
            older = (
                f"; the store holds {len(manifests) - 1} older ones: --every looks through them too" if manifests[1:] and not every else ""
            )
            raise NotOne(f"{looked} in {root.root} has no record {document!r}: give an id, its first digits, or `file#position`{older}")
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    for number, one in enumerate(found):
        typer.echo("\n" if number else "", nl=False)
        show(one)


# --- where to look -----------------------------------------------------------------------------------------------------------


def artifacts(run: str, root: str) -> "tuple[Store, list[Manifest]]":
    """Return a store and its documents artifacts, newest first: those of a run, or of a store; BadInput if there are none."""
    from tasks.artifacts.documents import last_documents
    from tasks.artifacts.verdicts import sealed_documents

    where = find_store(run, root)
    store, found = where.store, sealed_documents(where.store)
    if root:
        if not found:
            raise BadInput(f"the store {store.root} holds no finished documents: run `reynard run --workflow data --store {root}` first")
        return store, found
    named = where.versions.get("documents")
    last = store.read(key).decode() if store.exists(key := last_documents(where.run)) else named
    mine = [manifest for manifest in found if manifest.recorded.get("run") == where.run or manifest.version in (last, named)]
    mine.sort(key=lambda manifest: manifest.version != last)  # what the run used last, though it may have been made long ago
    if not (mine or (found and where.is_own)):
        raise BadInput(
            f"the store {store.root} holds no finished documents of the run {where.run}: let it finish curation, or give --store"
        )
    return store, mine or found


def label(manifest: "Manifest") -> str:
    """Write an artifact's name as the console does."""
    return f"{manifest.name}@{manifest.version[:8]}"


# --- what is known -----------------------------------------------------------------------------------------------------------


def explanations(verdicts: "Verdicts", asked: str) -> list[JSON]:
    """Return what one artifact knows about a document, one explanation a record; NotOne if several documents match."""
    found = places(verdicts, asked)
    told = [explanation(verdicts, place, verdicts.row(place)) for place in found[:RECORDS_SHOWN]]
    if told and len(found) > RECORDS_SHOWN:
        told[-1]["more"] = f"{len(found) - RECORDS_SHOWN:,} more records have the same text"
    return told


def places(verdicts: "Verdicts", asked: str) -> "list[Place]":
    """Find the records that are asked for, the kept one first; NotOne if the digits begin several ids."""
    id = asked.strip().lower()
    if not ID.fullmatch(id):
        return kept_first([(place, row["reason"]) for place, row in verdicts.find("raw", asked, ("reason",))])
    by_id: dict[str, list[tuple[Any, str]]] = {}
    for place, row in verdicts.find("id", id, ("reason",), prefix=True):
        by_id.setdefault(row["id"], []).append((place, row["reason"]))
    if len(by_id) > 1:
        some = ", ".join(sorted(by_id)[:5])
        raise NotOne(
            f"{len(by_id):,} documents of {label(verdicts.manifest)} have an id that begins with {id}: give more digits of one, such as {some}"
        )
    return kept_first(next(iter(by_id.values()), []))


def kept_first(found: list[tuple[Any, str]]) -> list[Any]:
    """Order places so that the kept record comes before its copies."""
    return [place for place, _ in sorted(found, key=lambda one: one[1] != "")]


def explanation(verdicts: "Verdicts", place: "Place", row: JSON) -> JSON:
    """Gather what is known about one record."""
    manifest = verdicts.manifest
    section, name = shape(manifest), place.source
    source = next((source for source in section.sources if source.name == name), None) if section else None
    told: JSON = {"artifact": label(manifest), "source": name, "record": row, "role": source.role if source else "corpus"}
    told["duplicate_of"] = original(verdicts, row) if row.get("duplicate_of") else None
    told["verdict"] = verdict(told, manifest)
    told["rules"], told["rules_note"] = measured(row, source, section, manifest)
    told["edits"] = {key: row[key] for key in row if (key.startswith("masked_") or key.endswith("_removed")) and row[key]}
    told["text"], told["text_note"] = text(verdicts, place, row, source, section)
    if row["reason"] == "" and row["id"]:
        copies = [
            {"source": where.source} | {key: values[key] for key in ("id", "raw", "reason", "similarity")}
            for where, values in verdicts.find("duplicate_of", row["id"], ("id", "raw", "reason", "similarity"))
        ]
        told["duplicates"], told["some_duplicates"] = len(copies), copies[:DUPLICATES_SHOWN]
    return told


def shape(manifest: "Manifest") -> Curation | None:
    """Return the recipe section that an artifact was made by, None if it has another shape than this version's."""
    try:
        return Curation.model_validate(manifest.identity.get("section"))
    except ValidationError:
        return None


def original(verdicts: "Verdicts", row: JSON) -> JSON:
    """Return the document in whose favour a record was dropped: its id, source, address, text, and its own fate if that is no other."""
    id, source = row["duplicate_of"], row.get("kept_source") or ""
    known: JSON = {"id": id, "source": source, "raw": None, "reason": None, "text": None}
    for place, values in verdicts.find("id", id, ("raw", "reason"), source=source):
        if values["reason"] == "":
            kept = verdicts.kept_text(place.source, id, Path(place.file).stem)
            return known | {"source": place.source, "text": kept[:TEXT_CHARACTERS] if kept else None} | values
        if values["reason"] != "exact_duplicate":  # what it is a copy of was later dropped for the sake of a third document
            known |= {"source": place.source} | values
    return known


def verdict(told: JSON, manifest: "Manifest") -> str:
    """Say in one line what became of a record."""
    row, reason = told["record"], told["record"]["reason"]
    if reason == "":
        return "kept" if told["role"] == "corpus" else f"read as {told['role']}: never trained on, neither kept nor dropped"
    said = f"dropped as {reason.replace('_', ' ')}"
    if twin := told["duplicate_of"]:
        facts = [f"similarity {row['similarity']:.2f}"] if reason == "near_duplicate" else []
        facts += [f"source {twin['source']}"] if twin["source"] else []
        facts += [f"raw {twin['raw']}"] if twin["raw"] else ["which has no verdict here"]
        facts += [f"itself dropped as {twin['reason'].replace('_', ' ')}"] if twin["reason"] else []
        return f"{said} of {twin['id']} ({', '.join(facts)})"
    more = {
        "language": f"recognised as {row.get('language') or 'none'}, score {number(row.get('language_score'))}",
        "blocked_url": f"its address is {row.get('url')}",
        "contaminated": f"shares {number(row.get('benchmark_matches'))} n-grams with benchmark items, first with {row.get('benchmark_item')}",
        "low_quality": f"score {number(row.get('quality'))}, threshold {number((manifest.details.get('quality') or {}).get('threshold'))}",
        "crashed": next(
            (q["why"] for q in (manifest.details.get("work") or {}).get("quarantined") or [] if q["address"] == row["raw"]), ""
        ),
        "emptied": f"{number(row.get('paragraphs_removed'))} repeated paragraphs were removed and too little was left",
    }.get(reason)
    return f"{said} ({more})" if more else said


def measured(row: JSON, source: Source | None, section: Curation | None, manifest: "Manifest") -> tuple[list[JSON], str]:
    """Return every rule's measured value beside its limit, and a sentence where that cannot be told."""
    from tasks.curation.rules import explain_row

    if section is None or source is None:
        return [], "the recipe that made this artifact has another shape than this version's, so its limits are not shown"
    if not row["id"]:
        return [], "nothing was measured: the record never became a document"
    if source.role != "corpus":
        return [], f"a {source.role} source is held to none"
    columns, note = {"fault": ""} | row, ""
    if source.sample is not None and "hash_place" not in row:
        source, note = source.model_copy(update={"sample": None}), "the place of its content hash, which sampling goes by, is not recorded"
    threshold = (manifest.details.get("quality") or {}).get("threshold")
    try:
        rows = explain_row(columns, source, section, threshold)
    except KeyError as missing:
        return [], f"its verdict has no column {missing}, which a rule of this version goes by"
    return [{"rule": rule, "value": value, "limit": limit, "passed": passed} for rule, value, limit, passed in rows], note


def text(verdicts: "Verdicts", place: "Place", row: JSON, source: Source | None, section: Curation | None) -> tuple[str | None, str]:
    """Return the beginning of a record's text and where it is from: the kept document, or else the raw record, read again."""
    if row["reason"] == "" and row["id"] and (found := verdicts.kept_text(place.source, row["id"], Path(place.file).stem)) is not None:
        return found[:TEXT_CHARACTERS], "as kept"
    if row["reason"] in FAULTS:
        return None, "not read again, since reading it failed" + (" and ended the process" if row["reason"] == "crashed" else "")
    if source is None or section is None:
        return None, "not read again: how it was read is not known"
    if source.format in DERIVED:
        return None, f"not kept: it was made from {', '.join(source.origins) or 'nothing'} by the recipe, and dropped"
    try:
        return raw_text(source, section, row["raw"])[:TEXT_CHARACTERS], "read again from its address, before cleaning"
    except (ValueError, OSError) as error:
        return None, f"its raw record cannot be read any more: {error}"


def raw_text(source: Source, section: Curation, address: str) -> str:
    """Read a record again from its address; BadInput if it is not there any more."""
    from tasks.sources.records import read_at

    record = read_at(source, address, section.rules_of(source))
    if record.fault:
        raise BadInput(f"it is {record.fault.replace('_', ' ')}")
    return (record.text or "").encode("utf-8", "replace").decode()  # a lone surrogate can be neither printed nor written as JSON


# --- what is shown -----------------------------------------------------------------------------------------------------------


def show(told: JSON) -> None:
    """Print one explanation."""
    row = told["record"]
    typer.secho(printable(told["verdict"]), fg="green" if row["reason"] == "" else "red", bold=True)
    lines = [
        ("document", row["id"] or "none: it has no text"),
        ("read from", row["raw"]),
        ("source", f"{told['source']} of {told['artifact']}"),
    ]
    lines += [(key, row[key]) for key in ("url", "licences", "language", "programming_language") if row.get(key)]
    if told["edits"]:
        lines.append(("changed", ", ".join(f"{key.replace('_', ' ')}: {number(value)}" for key, value in told["edits"].items())))
    if "duplicates" in told:
        lines.append(("duplicates", f"{told['duplicates']:,} others were dropped as its duplicates" if told["duplicates"] else "none"))
    for name, value in lines:
        typer.echo(f"  {name:<22}{printable(str(value))}")
    for copy in told.get("some_duplicates", []):
        alike = f", similarity {copy['similarity']:.2f}" if copy["reason"] == "near_duplicate" else ", the same text"
        typer.echo(f"    {copy['id']}  {printable(copy['source'])} {printable(copy['raw'])}{alike}")
    show_rules(told["rules"], told["rules_note"])
    quote(f"text ({told['text_note']})", told["text"])
    if told["duplicate_of"] and told["duplicate_of"]["text"] and row["reason"] == "near_duplicate":
        quote(f"the document it duplicates, {told['duplicate_of']['id']}", told["duplicate_of"]["text"])
    if told.get("more"):
        typer.echo(told["more"])


def show_rules(rules: list[JSON], note: str) -> None:
    """Print measured values beside their limits, aligned."""
    if rules or note:
        typer.echo(f"rules{f' ({printable(note)})' if note else ''}")
    shown = [(rule["rule"], number(rule["value"]), str(rule["limit"]), rule["passed"]) for rule in rules]
    widths = [max(len(row[place]) for row in shown) for place in range(2)] if shown else [0, 0]
    for name, value, limit, passed in shown:
        line = f"  {'✓' if passed else '✗'} {name:<{widths[0]}}  {printable(value):>{min(widths[1], 24)}}  {limit}"
        typer.secho(line, fg=None if passed else "red")


def quote(title: str, text: str | None) -> None:
    """Print the first lines of a text."""
    typer.echo(printable(title))
    lines = [line.rstrip() for line in printable(text or "").splitlines() if line.strip()]
    for line in lines[:LINES_SHOWN]:
        typer.echo(f"  │ {line[:140]}{'…' if len(line) > 140 else ''}")


def number(value: Any) -> str:
    """Write a measured value: whole numbers with separators, others with four digits, a dash where nothing was measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value) or "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
