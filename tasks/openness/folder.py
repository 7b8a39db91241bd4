"""What openness adds to a released folder, in three steps: before it is judged, before its cards are written, and after everything else."""

import json
from collections.abc import Collection
from pathlib import Path

from tasks.artifacts.manifest import Manifest
from tasks.openness.assess import Assessment
from tasks.openness.checksums import write_sums
from tasks.openness.environment import SBOM, write_environment
from tasks.openness.evidence import CARD, DATA_CARD, SAMPLES, TECHNICAL_REPORT
from tasks.openness.markdown import BADGE, badge_svg
from tasks.openness.official import official_yaml
from tasks.openness.source_code import SOURCE, write_archive
from tasks.openness.technical_report import technical_report

LICENCES, MOF = "reynard/licences.json", "reynard/MOF.yml"
RECORDS = (SBOM, SOURCE)  # may differ between equal releases: where they were made, and comments in the code that made them
# what the layout of a released folder promises while the folder is judged: its class is computed once more when all of it is there
PROMISED = (
    CARD, DATA_CARD, TECHNICAL_REPORT, SAMPLES, "reynard/recipe.yaml", "reynard/cards/*.json", "config.json", "generation_config.json",
    "*.safetensors",
)  # fmt: skip


def write_origin(folder: Path, root: Path, commit: str) -> None:
    """Write the source code of the project at `root`, and the environment that it ran in."""
    write_archive(root, folder / SOURCE)
    write_environment(folder, commit)


def write_report(folder: Path, assessed: Assessment, manifests: list[Manifest]) -> None:
    """Write the technical report, the licence bill of materials and the badge."""
    (folder / TECHNICAL_REPORT).write_text(technical_report(assessed.section, assessed.which, manifests), encoding="utf-8")
    rows = {"parts": [entry.row() for entry in assessed.bill], "release": assessed.section.component_licences.model_dump()}
    rows["release"]["weights"] = assessed.section.licence
    (folder / LICENCES).write_text(json.dumps(rows, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / BADGE).write_text(badge_svg(assessed.openness_class), encoding="utf-8")


def seal_folder(folder: Path, assessed: Assessment, records: Collection[str]) -> None:
    """Write the framework's YAML and the checksums: the last two files. `records` are not in the sums."""
    (folder / MOF).write_text(official_yaml(assessed), encoding="utf-8")
    write_sums(folder, [*records, *RECORDS])
