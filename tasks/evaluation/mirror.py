"""A folder in the Hub's layout in place of the Hub: where it is, and the digest of what a benchmark reads from it.

`REYNARD_MIRROR` names the folder; a task's `dataset_path`, such as `allenai/ai2_arc`, is a folder below it. The place is no part of
a recipe, since it does not decide a score: the digest of the bytes does.
"""

import os
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Evaluation
from tasks.artifacts.manifest import digest_of
from tasks.artifacts.store import sha256_file
from tasks.evaluation.sample import ITEMS

VARIABLE = "REYNARD_MIRROR"


def items_folder(section: Evaluation) -> Path | None:
    """Return the folder that holds the data sets of a section's benchmarks, or None for the Hub; BadInput if the mirror is no folder."""
    if section.items == "sample":
        return ITEMS
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if not (folder := Path(named).expanduser().absolute()).is_dir():
        raise BadInput(f"{VARIABLE} is {named!r}, which is no folder: name one in the Hub's layout, or unset it to read from the Hub")
    return folder


def folder_digest(folder: Path) -> str:
    """Return the hex sha256 of a data set's folder: its files' names and bytes; FileNotFoundError if it has none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} holds no data set")
    return digest_of([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files])


def hub_revision(dataset: str) -> str:
    """Return the commit that a data set's `main` is at: asked of the Hub, or, offline, as its cache has it; OSError if neither knows."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    kept = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "refs" / "main"
    try:
        return f"hub:{HfApi().dataset_info(dataset).sha}"
    except OfflineModeIsEnabled:
        if not kept.is_file():
            raise FileNotFoundError(f"{dataset} is not in the Hub's cache, and the Hub may not be asked") from None
        return f"hub:{kept.read_text().strip()}"
