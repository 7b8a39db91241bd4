"""An assessment to the Model Openness Tool's own YAML, which its site reads as it is. It has no date: equal releases are equal files."""

from typing import Any

import yaml

from tasks.openness.assess import Assessment
from tasks.openness.evidence import Part
from tasks.openness.framework import DATE, NAME, VERSION

TREATMENT = {"base": "pre-trained", "chat": "chat fine-tuned"}


def official(assessed: Assessment) -> dict[str, Any]:
    """Return the YAML's values: the release, its licences by type, and every component for which there is something to show."""
    section, is_chat = assessed.section, assessed.which == "chat"
    licences = section.component_licences
    name = section.chat_name if is_chat else section.base_name
    return {
        "framework": {"name": NAME, "version": VERSION, "date": DATE},
        "release": {
            "name": name,
            "version": section.version,
            "license": {
                kind: {"name": licence, "path": spdx_page(licence)}
                for kind, licence in (
                    ("distribution", section.licence), ("code", licences.code), ("data", licences.data), ("document", licences.documents),
                )
            },
            "type": "language",
            "architecture": "transformer decoder",
            "treatment": TREATMENT[assessed.which],
            "origin": section.address(section.base_name) if is_chat else "",
            "producer": section.organization or "Reynard",
            "contact": "",
            "repository": "",
            "huggingface": f"https://huggingface.co/{section.organization}/{name}" if section.organization else "",
            "components": [_component(part) for part in assessed.parts if part.shown],
        },
    }  # fmt: skip


def official_yaml(assessed: Assessment) -> str:
    """Write the YAML."""
    return yaml.safe_dump(official(assessed), sort_keys=False, allow_unicode=True, width=140)


def spdx_page(licence: str) -> str:
    """Return where a licence's text is kept."""
    return "" if licence.startswith("LicenseRef-") else f"https://spdx.org/licenses/{licence}.html"


def _component(part: Part) -> dict[str, str]:
    shown = part.shown
    assert shown is not None
    said = [
        part.component.description,
        f"here: {shown.artifact}",
        *([f"digest {shown.digest}"] if shown.digest else []),
        *([shown.note] if shown.note else []),
    ]
    return {
        "name": part.component.name, "description": "; ".join(said), "component_path": shown.location, "license": shown.licence,
        "license_path": spdx_page(shown.licence),
    }  # fmt: skip
