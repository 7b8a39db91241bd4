"""Who may let a release go out: the record of a person's approval in the store, beside the flag by which it is given on one machine."""

import getpass
import os
import time

import orjson

from recipes.errors import BadInput
from recipes.release import Release
from tasks.artifacts.manifest import Manifest
from tasks.artifacts.store import Store

VARIABLE = "REYNARD_APPROVE"  # set by `reynard run --approve`
GATE = "gate node"


def is_approved(store: Store, release: Manifest) -> bool:
    """Tell whether somebody has approved this very release."""
    key = _key(release)
    return store.exists(key) and orjson.loads(store.read(key))["digest"] == release.digest


def approve(store: Store, release: Manifest, by: str) -> None:
    """Record that a person approved a release."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    store.write(_key(release), orjson.dumps({"digest": release.digest, "by": by, "when": when}, option=orjson.OPT_INDENT_2))


def settle_approval(section: Release, store: Store, release: Manifest, by_gate: bool, where: str) -> str:
    """Take the approval that was given, by a gate node or by the flag, and return who gave it, "" where nobody had to or has before.

    BadInput says how to give it if the recipe asks for it and nobody did; `where` is what is to be read first.
    """
    if not section.approval or is_approved(store, release):
        return ""
    if not by_gate and os.environ.get(VARIABLE) != "yes":
        raise BadInput(
            f"{release.name}@{release.version[:8]} passed all checks and waits for a person, as release.approval asks: read {where}, "
            "then run the same command again with --approve"
        )
    by = GATE if by_gate else getpass.getuser()
    approve(store, release, by)
    return by


def _key(release: Manifest) -> str:
    return f"approved/{release.version}.json"
