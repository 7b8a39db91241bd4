"""An assessment and a licence bill to what cards show: the class as a badge and a table of all components, and a table of licences."""

from tasks.openness.assess import Assessment
from tasks.openness.bill import Entry
from tasks.openness.framework import MEANING
from tasks.openness.official import spdx_page

BADGE = "reynard/openness.svg"
COLOURS = {"I": "#2c7a1f", "II": "#2c7a1f", "III": "#2c7a1f", "none": "#5f6b72"}  # white on each: 5 to 1 and more
MARKS = {"fit": "✓", "conditional": "✓ conditionally", "closed": "✗ not open", "unlicensed": "✗ no licence", "missing": "✗"}


def class_name(computed: str) -> str:
    """Write a class in words."""
    return f"Class {computed} - {MEANING[computed]}" if computed != "none" else MEANING[computed]


def badge_svg(computed: str) -> str:
    """Draw the badge: the framework's name, and the class that the evidence gives."""
    left, right = "Model Openness Framework", class_name(computed)
    wide, total = 172, 172 + 14 + round(6.6 * len(right))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="22" role="img" aria-label="{left}: {right}">'
        f'<title>{left}: {right}</title><clipPath id="r"><rect width="{total}" height="22" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{wide}" height="22" fill="#333"/>'
        f'<rect x="{wide}" width="{total - wide}" height="22" fill="{COLOURS[computed]}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{wide / 2:g}" y="15" textLength="{wide - 16}" lengthAdjust="spacingAndGlyphs">{left}</text>'
        f'<text x="{(wide + total) / 2:g}" y="15" textLength="{total - wide - 16}" lengthAdjust="spacingAndGlyphs">{right}</text></g></svg>\n'
    )


def badge(computed: str) -> str:
    """Show the badge in a card: where the picture does not load, its text says the same."""
    return f"![Model Openness Framework: {class_name(computed)}]({BADGE})"


def component_table(assessed: Assessment) -> str:
    """Write all components of the framework: what there is, its digest, its licence and its place, or why it does not count."""
    lines = ["| component | class | counts | artifact | digest | licence | place |", "|---|---|---|---|---|---|---|"]
    for part in assessed.parts:
        need = {1: "I", 2: "II", 3: "III"}[part.component.number] + ("" if part.component.required else ", optional")
        cells = [part.component.name, need, MARKS[part.standing]]
        if part.shown:
            digest = f"`{part.shown.digest[:12]}`" if part.shown.digest else "in SHA256SUMS"
            cells += [
                part.shown.artifact,
                digest,
                _licence(part.shown.licence),
                part.shown.location + (f" ({part.shown.note})" if part.shown.note else ""),
            ]
        else:
            cells += [part.missing, "", "", ""]
        lines.append(_row(cells))
    reached = ", ".join(f"class {name} {percent:.0f} %" for name, percent in assessed.progress.items())
    said = f"Computed from this release's artifacts: **{class_name(assessed.openness_class)}** ({reached})."
    conditional = [part for part in assessed.parts if part.standing == "conditional"]
    if conditional:
        said += " *Conditionally*: the licence is open, but made for another type of component."
    return "\n".join([said, "", *lines]) + "\n"


def licence_table(bill: list[Entry]) -> str:
    """Write what the model is made of, with licences, revisions and digests; what is made from other parts inherits theirs."""
    lines = ["| part | name | licence | as declared | revision | digest | made from |", "|---|---|---|---|---|---|---|"]
    for entry in bill:
        licence = f"**unknown**: {entry.unknown}" if entry.unknown else entry.spdx
        revision = entry.revision[:24]
        digest = f"`{entry.digest[:12]}`" if entry.digest else ""
        lines.append(
            _row([entry.role, entry.name, licence, entry.said.said, revision, digest, ", ".join(one.name for one in entry.origins)])
        )
    return "\n".join(lines) + "\n"


def _licence(licence: str) -> str:
    page = spdx_page(licence)
    return f"[{licence}]({page})" if page else licence


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
