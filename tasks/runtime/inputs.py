"""What an artifact was made from to MLflow's data sets: its parents by their digests, and of raw data each source with its licence.

MLflow keeps 36 letters of a digest; the whole one is a tag of the input.
"""

import json
from typing import TYPE_CHECKING, Any

from tasks.artifacts.manifest import digest_of

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

    from tasks.artifacts.manifest import Manifest

DIGEST_LETTERS = 36
CONTEXT = "mlflow.data.context"  # the tag in which MLflow shows what an input is for


def dataset_digest(digest: str) -> str:
    """Return as much of a digest as MLflow keeps."""
    return digest[:DIGEST_LETTERS]


def parent_inputs(manifest: "Manifest") -> "list[DatasetInput]":
    """Return an artifact's parents as MLflow's data sets, by role; their source is the parent's manifest."""
    found = []
    for role, parent in (manifest.identity.get("parent_artifacts") or {}).items():
        digest = manifest.identity["parents"][role]
        kind = "s3" if parent["uri"].startswith("s3://") else "local"
        name = f"{parent['name']}@{parent['version'][:8]}"
        found.append(_input(name, digest, kind, {"uri": parent["uri"]}, {CONTEXT: role, "digest": digest}))
    return found


def source_inputs(manifest: "Manifest", raw: "Manifest | None") -> "list[DatasetInput]":
    """Return the raw sources that an artifact was read from as MLflow's data sets, with licence, revision and size."""
    declared = {row["name"]: row for row in (manifest.identity.get("section") or {}).get("sources") or []}
    found = []
    for name, files in sorted((raw.identity.get("section") or {}).items()) if raw else ():
        known = declared.get(name, {})
        facts = {
            "licence": known.get("licence"),
            "revision": known.get("revision"),
            "files": len(files),
            "bytes": sum(row[1] for row in files),
        }
        tags = {CONTEXT: "raw", "digest": digest_of(files)} | {key: str(value)[:500] for key, value in facts.items() if value is not None}
        found.append(_input(name, digest_of(files), "code", {"tags": {"location": known.get("location", "")}}, tags))
    return found


def _input(name: str, digest: str, source_type: str, source: dict[str, Any], tags: dict[str, str]) -> "DatasetInput":
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    dataset = MetaDataset(get_dataset_source_from_json(json.dumps(source), source_type), name=name, digest=dataset_digest(digest))
    return DatasetInput(dataset._to_mlflow_entity(), [InputTag(key, value) for key, value in tags.items()])
