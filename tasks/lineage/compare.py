"""Two makings of one recipe to a table: artifact by artifact equal or not, the first that differs, and what may be the reason.

Artifacts are paired by kind and name, not by version: code that changed gives another version, and may well give the same content.
"""

import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import sha256_file
from tasks.lineage.graph import Graph, label_of
from tasks.runtime.code import code_digest

EQUAL, DIFFERENT, MISSING = "equal", "different", "not made"
CODE = {  # the package whose code decided an artifact, by kind
    "raw": "tasks.preflight", "documents": "tasks.curation", "tokens": "tasks.tokenization", "conversations": "tasks.sft",
    "published": "tasks.training", "card": "tasks.evaluation.harness", "scores": "tasks.evaluation", "export": "tasks.release",
    "release": "tasks.release",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One artifact as it was released and as it was made again."""

    name: str
    kind: str
    digest: str
    again: str
    verdict: str
    reasons: list[str] = field(default_factory=list)


def compare(released: Graph, roots: list[str], made: Graph) -> list[Row]:
    """Pair the artifacts of a released model with those that were made again, in the order in which they are made."""
    wanted = {(released.manifests[root].kind, released.manifests[root].name) for root in roots}
    again = pairs(made.back([place for place in made.made if (made.manifests[place].kind, made.manifests[place].name) in wanted]))
    rows = []
    for key, one in pairs(released).items():
        other = again.get(key)
        if other is None:
            rows.append(Row(label_of(one), one.kind, one.digest, "", MISSING))
        elif other.digest == one.digest:
            rows.append(Row(label_of(one), one.kind, one.digest, other.digest, EQUAL))
        else:
            rows.append(Row(label_of(one), one.kind, one.digest, other.digest, DIFFERENT, reasons(one, other)))
    return rows


def pairs(graph: Graph) -> dict[tuple[str, str], Manifest]:
    """Name the artifacts of one model so that they are found in another making of it: by kind and name."""
    return {(one.kind, one.name): one for one in (graph.manifests[place] for place in graph.made)}


def compare_files(folder: Path, made: Graph) -> list[Row]:
    """Compare a released folder's files with those of the release that was made again: of several, the one with most files equal."""
    here = {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    rows = []
    for one in made.manifests.values():
        if one.kind == "release":
            sealed = {entry.path.removeprefix("model/"): entry.sha256 for entry in one.files}
            changed = sorted(name for name, digest in sealed.items() if here.get(name) != digest)
            said = [f"{len(changed)} of {len(sealed)} files, the first {changed[0]}"] if changed else []
            equal = f"{len(sealed) - len(changed)} equal"
            row = Row(f"files of {label_of(one)}", one.kind, f"{len(sealed)} files", equal, DIFFERENT if changed else EQUAL, said)
            rows.append((len(changed), label_of(one), row))
    return [min(rows)[2]] if rows else []


def reasons(one: Manifest, other: Manifest) -> list[str]:
    """Say what may have made two artifacts different: the recipe, the code, what they were made from, or else the machine."""
    found = []
    for path in differing(one.identity.get("section"), other.identity.get("section")):
        found.append(f"recipe: {path}")
    if one.identity.get("code") != other.identity.get("code"):
        found.append(f"code: {one.identity.get('code')} then, {other.identity.get('code')} now")
    before, after = one.identity.get("parents") or {}, other.identity.get("parents") or {}
    found += [f"made from another {role}" for role in before if before[role] != after.get(role)]
    if not found:
        found.append("same recipe, code and parents: the environment, or something that chance decides")
    mine, theirs = ({entry.path: entry.sha256 for entry in each.files} for each in (one, other))
    if changed := sorted(path for path in mine.keys() | theirs.keys() if mine.get(path) != theirs.get(path)):
        found.append(f"{len(changed)} of {len(mine)} files, the first {changed[0]}")
    return found + [f"counts: {path}" for path in differing(one.counts, other.counts)]


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Return the fields in which two plain values differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [line for key in keys for line in differing(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for number, pair in enumerate(zip(one, other, strict=True)) for line in differing(*pair, f"{path}[{number}]")]
    return [] if one == other else [f"{path} is {_short(other)}, was {_short(one)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def package_of(manifest: Manifest) -> str:
    """Return the package whose code decides an artifact."""
    if manifest.kind == "checkpoint":
        return "tasks.sft" if "conversations" in (manifest.identity.get("parents") or {}) else "tasks.training"
    return CODE.get(manifest.kind, f"tasks.{manifest.kind}")


def changed_code(released: Graph) -> list[str]:
    """Return the kinds of artifacts whose code is another now than when the model was made."""
    found = {package_of(one) for one in released.manifests.values() if (one.identity.get("code") or "") != code_digest(package_of(one))}
    return sorted(found)


def changed_environment(folder: Path, released: Graph) -> list[str]:
    """Return what is another version here than where the model was made: Python, and the packages of the folder's SBOM."""
    found = []
    pythons = {str(one.recorded["python"]) for one in released.manifests.values() if one.recorded.get("python")}
    if pythons and platform.python_version() not in pythons:
        found.append(f"Python {platform.python_version()}, was {', '.join(sorted(pythons))}")
    bill = folder / "reynard" / "sbom.cdx.json"
    for component in orjson.loads(bill.read_bytes()).get("components", []) if bill.is_file() else []:
        if component.get("type") == "library" and "pkg:pypi" in component.get("purl", ""):
            try:
                here = version(component["name"])
            except PackageNotFoundError:
                here = "not installed"
            if here != component.get("version"):
                found.append(f"{component['name']} {here}, was {component.get('version')}")
    return found


def workers_of(released: Graph) -> int | None:
    """Return the number of training processes that the model was trained by, which decides how sums are rounded; None if stages differ."""
    sizes = {one.details["world_size"] for one in released.manifests.values() if one.details.get("world_size")}
    return sizes.pop() if len(sizes) == 1 else None


def as_plain(rows: list[Row]) -> list[JSON]:
    """Return the table as plain values."""
    return [row.__dict__ for row in rows]
