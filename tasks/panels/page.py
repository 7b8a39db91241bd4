"""Panels to one self-contained HTML document: no script, no font, nothing fetched from anywhere."""

import re
from collections.abc import Sequence

from tasks.panels.formats import escaped
from tasks.panels.style import fragment_styles, frame_styles, page_styles

OPENING = '<section class="panel">'
HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)
NOTHING_FETCHED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, subtitle: str, facts: Sequence[tuple[str, str]], panels: Sequence[str]) -> str:
    """Write the report: title, facts, a table of contents made from the panels' headings, and the panels."""
    named = [(f"part-{number}", heading(panel), panel) for number, panel in enumerate(panels, start=1)]
    contents = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name, _ in named)
    body = "\n".join(panel.replace(OPENING, f'<section class="panel" id="{anchor}">', 1) for anchor, _, panel in named)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{NOTHING_FETCHED}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escaped(title)}</title>
<style>
{page_styles()}
</style>
</head>
<body class="reynard">
<div class="page">
<header>
<h1>{escaped(title)}</h1>
{f'<p class="subtitle">{escaped(subtitle)}</p>' if subtitle else ""}
{fact_list(facts)}
</header>
<div class="columns">
<nav aria-label="Contents"><p>Contents</p><ol>{contents}</ol></nav>
<main>
{body}
</main>
</div>
</div>
</body>
</html>
"""


def deck(panels: Sequence[str]) -> str:
    """Write panels as a fragment that carries its own style, for a Flyte Deck: a tab of a page that Flyte frames."""
    return f"<style>\n{fragment_styles()}\n{frame_styles()}\n</style>\n{below(*panels)}"


def below(*panels: str) -> str:
    """Write panels as more of a deck whose style is there already."""
    return f'<div class="reynard deck">\n{"".join(panels)}\n</div>'


def heading(panel: str) -> str:
    """Return a panel's heading as it is written there, escaped already."""
    found = HEADING.search(panel)
    return found.group(1).strip() if found else "Untitled"


def fact_list(facts: Sequence[tuple[str, str]]) -> str:
    """Write labelled values; long ones (paths, commands) get more room and smaller letters."""
    items = []
    for label, value in facts:
        long = len(str(value)) > 30
        shown = f"<code>{escaped(value)}</code>" if long else escaped(value)
        items.append(f"<div{' class=' + chr(34) + 'long' + chr(34) if long else ''}><dt>{escaped(label)}</dt><dd>{shown}</dd></div>")
    return f'<dl class="facts">{"".join(items)}</dl>' if items else ""
