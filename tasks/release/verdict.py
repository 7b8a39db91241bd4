"""The checks of a refused release to a page that a person reads: what failed, what was found, and what to do."""

from pathlib import Path

from tasks.artifacts.store import Store
from tasks.release.gate import Check


def verdict_text(what: str, checks: list[Check]) -> str:
    """Write a verdict in Markdown: what failed first, then what was in order."""
    failed, passed = [one for one in checks if not one.passed], [one for one in checks if one.passed]
    lines = [
        f"# {what}: refused",
        "",
        f"{len(failed)} of {len(checks)} checks failed, so nothing was released. What was released before stays as it is.",
        "",
    ]
    for check in failed:
        lines += [f"## ✗ {check.name}", f"- found: {check.reason}", f"- what to do: {check.remedy}", ""]
    if passed:
        lines += ["## In order", *(f"- {check.name}: {check.reason}" for check in passed), ""]
    return "\n".join(lines)


def leave_verdict(store: Store, version: str, local: Path, what: str, checks: list[Check]) -> None:
    """Leave the verdict of a refused release in the store (`refused/<version>/verdict.md`) and in the run's folder."""
    text = verdict_text(what, checks)
    store.write(f"refused/{version}/verdict.md", text.encode())
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_text(text, encoding="utf-8")
