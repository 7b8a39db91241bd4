"""Both platforms of the repository, and all manifests that our charts make for them."""

from functools import cache
from pathlib import Path

import pytest

from infra.platform import charts_of, namespaces, values_of
from infra.settings import Platform, read_platform

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
NAMES = ["development", "production"]
COMMIT = "0123abc"


def platform(name: str) -> Platform:
    """Return a platform of the repository."""
    return read_platform(INFRA / f"platforms/{name}.yaml")


@cache
def all_manifests(name: str) -> list[dict]:
    """Return all manifests of ours for a platform."""
    pytest.importorskip("helm_python", reason="the extra `test` brings Helm's library")
    from infra.manifests import rendered

    own = platform(name)
    charts = [chart for chart in charts_of(own) if chart.folder]
    return namespaces(own) + [one for c in charts for one in rendered(INFRA / c.folder, values_of(c, own, COMMIT), c.name, c.namespace)]


def of_kind(manifests: list[dict], kind: str) -> list[dict]:
    """Return the manifests of a kind."""
    return [one for one in manifests if one["kind"] == kind]


def named(manifests: list[dict], kind: str, name: str) -> dict:
    """Return the manifest of a kind that has a name."""
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    return found
