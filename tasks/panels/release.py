"""Manifests of released models to the panel that shows which checks they passed, and which files they consist of."""

from collections.abc import Sequence
from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.formats import amount, count, escaped, is_number
from tasks.panels.markup import Markup, fold, panel, table

FILES_SHOWN, MAX_DETAIL = 60, 400


def release(manifests: Sequence[Manifest]) -> str:
    """Show the checks of every released model."""
    checks = [check for manifest in manifests for check in manifest.details.get("checks") or []]
    failed = [check for check in checks if not check.get("passed")]
    said = (
        f"{amount(len(manifests), 'model')}, {amount(len(checks), 'check')}, {count(len(failed)) if failed else 'none'} failed."
        if manifests
        else "Nothing was released."
    )
    shown = (part for manifest in manifests for part in (check_table(manifest), openness_table(manifest), file_list(manifest)))
    return panel("Release", said, *shown)


def check_table(manifest: Manifest) -> str:
    """Write each check of one model, with what it found."""
    name = str(manifest.counts.get("repository", manifest.name))
    rows = []
    for check in manifest.details.get("checks") or []:
        mark = Markup('<span class="good">✓ passed</span>') if check.get("passed") else Markup('<span class="bad">✗ failed</span>')
        found = str(check.get("detail") or "")
        rows.append([str(check.get("name", "")), mark, found[:MAX_DETAIL] + ("…" if len(found) > MAX_DETAIL else "")])
    difference = manifest.details.get("logit_difference")
    note = f"In {manifest.counts.get('folder', 'an unknown folder')}."
    if is_number(difference):
        note += f" Largest difference between the released model's logits and the trainer's: {difference:.2g}."
    return (
        table(name, ["check", "result", "found"], rows, note) if rows else f'<p class="note">{escaped(name)} has no checks on record.</p>'
    )


def openness_table(manifest: Manifest) -> str:
    """Write the components of the Model Openness Framework: what one model has of each, or why it does not count."""
    found = manifest.details.get("openness")
    if not found:
        return ""
    rows = []
    for part in found["parts"]:
        counts = part["standing"] in ("fit", "conditional")
        mark = Markup('<span class="good">✓ counts</span>') if counts else Markup('<span class="bad">✗ does not count</span>')
        need = part["class"] + ("" if part["required"] else ", optional")
        rows.append([part["name"], need, mark, part["artifact"] or part["missing"], part["licence"]])
    reached = ", ".join(f"class {name} {percent:.0f} %" for name, percent in found["progress"].items())
    name = "unclassified" if found["class"] == "none" else f"class {found['class']}"
    note = f"Computed from its artifacts: {name} ({reached}); claimed: {found['claimed']}."
    title = f"Openness of {manifest.counts.get('repository', manifest.name)}"
    return fold(f"{title}: {name}", table(title, ["component", "class", "result", "artifact", "licence"], rows, note))


def file_list(manifest: Manifest) -> str:
    """List the files of one model, folded away."""
    files: list[Any] = manifest.details.get("files") or []
    if not files:
        return ""
    items = "".join(
        f"<li><code>{escaped(file.get('path', file) if isinstance(file, dict) else file)}</code></li>" for file in files[:FILES_SHOWN]
    )
    more = f"<li>and {count(len(files) - FILES_SHOWN)} more</li>" if len(files) > FILES_SHOWN else ""
    return fold(amount(len(files), "file"), f"<ul>{items}{more}</ul>")
