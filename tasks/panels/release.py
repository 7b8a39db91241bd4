"""Manifests of released models to the panel that shows which checks they passed, and which files they consist of."""

from collections.abc import Sequence
from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.formats import amount, count, escaped, is_number
from tasks.panels.markup import Markup, fold, panel, table

FILES_SHOWN, MAX_DETAIL = 60, 400
PASSED, FAILED = Markup('<span class="good">✓ passed</span>'), Markup('<span class="bad">✗ failed</span>')


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


def refusal(name: str, checks: Sequence[dict[str, Any]]) -> str:
    """Show the checks of a release that was refused, those that failed first, with what to do about each."""
    failed, passed = [one for one in checks if not one["passed"]], [one for one in checks if one["passed"]]
    said = f"Refused: {count(len(failed))} of {amount(len(checks), 'check')} failed. What was released before stays as it is."
    rows = [[one["name"], FAILED, shortened(one["detail"]), one["remedy"]] for one in failed]
    rows += [[one["name"], PASSED, shortened(one["detail"]), ""] for one in passed]
    return panel(f"Release of {name}", said, table("", ["check", "result", "found", "what to do"], rows))


def delivered(manifest: Manifest, folder: str, approved_by: str) -> str:
    """Say where a release was laid down, and who approved it."""
    rows = [["repository", str(manifest.counts.get("repository", manifest.name))], ["folder", folder]]
    rows.append(["approved by", approved_by or "nobody was asked, or the approval is on record from before"])
    return panel("Delivery", "It passed its checks and is laid down as a Hugging Face repository.", table("", ["what", "which"], rows))


def approval(wanted: bool, waits: bool) -> str:
    """Say whether a person is asked before a release is delivered."""
    said = "The recipe asks for a person's approval (release.approval)" if wanted else "The recipe asks for no person's approval"
    then = "the gate node approve-release waits for it" if waits else "nobody has to be asked now"
    return panel("Approval", f"{said}; {then}.")


def check_table(manifest: Manifest) -> str:
    """Write each check of one model, with what it found."""
    name = str(manifest.counts.get("repository", manifest.name))
    rows = []
    for check in manifest.details.get("checks") or []:
        rows.append([str(check.get("name", "")), PASSED if check.get("passed") else FAILED, shortened(check.get("detail") or "")])
    difference = manifest.details.get("logit_difference")
    note = f"In {manifest.counts.get('folder', 'an unknown folder')}."
    if is_number(difference):
        note += f" Largest difference between the released model's logits and the trainer's: {difference:.2g}."
    return (
        table(name, ["check", "result", "found"], rows, note) if rows else f'<p class="note">{escaped(name)} has no checks on record.</p>'
    )


def shortened(found: object) -> str:
    """Cut what a check found to a length that a table bears."""
    text = str(found)
    return text[:MAX_DETAIL] + ("…" if len(text) > MAX_DETAIL else "")


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
