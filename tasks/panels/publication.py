"""The receipt of a publication to the panel that says what lies where on the Hub."""

from tasks.artifacts.manifest import Manifest
from tasks.panels.formats import amount, compact, count
from tasks.panels.links import link
from tasks.panels.markup import Markup, panel, table


def publication(manifest: Manifest) -> str:
    """List the repositories and revisions of a publication with their commits."""
    commits, home = manifest.recorded.get("commits") or {}, manifest.identity["section"]["endpoint"]
    rows = []
    for one in manifest.details["published"]:
        place = f"{'datasets/' if one['kind'] == 'dataset' else ''}{one['address']}"
        shown = Markup(link(place, f"{home}/{place}/tree/{one['revision']}"))
        rows.append([shown, one["revision"], str(commits.get(f"{one['address']}@{one['revision']}", ""))[:12]])
    held = f"{amount(manifest.counts['files'], 'file')}, {compact(manifest.counts['bytes'])}B"
    said = f"{amount(manifest.counts['revisions'], 'revision')} with {held}, on {home}."
    note = f"{count(len(rows))} names that never change what they mean: tags of releases, branches of checkpoints."
    return panel("Publication", said, table("What lies where", ["repository", "revision", "commit"], rows, note))
