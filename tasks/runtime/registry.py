"""A released folder to a version in MLflow's model registry that leads back to the artifacts and raw sources it came from."""

import tempfile

from tasks.artifacts.manifest import JSON
from tasks.runtime.tracker import attempt, client
from tasks.runtime.tracking import Tracking


def register_model(tracking: Tracking, name: str, digest: str, lineage: list[tuple[str, str]], facts: JSON) -> None:
    """Record a LoggedModel with its lineage and register it as the next version of `name`, unless this digest is registered already."""

    def call() -> None:
        import mlflow
        from mlflow.models import Model

        mlflow.set_tracking_uri(tracking.uri)  # the registry resolves models:/ addresses by MLflow's global setting only
        tracker = client(tracking.uri)
        if not tracker.search_registered_models(f"name = '{name}'"):
            tracker.create_registered_model(name, description="Released by Reynard")
        for version in tracker.search_model_versions(f"name = '{name}'"):
            if version.tags.get("digest") == digest:
                return
        tags = (
            {"digest": digest}
            | {f"lineage.{label.split('@')[0]}": f"{label} {value}" for label, value in lineage}
            | {k: str(v) for k, v in facts.items()}
        )
        experiment = tracker.get_run(tracking.child).info.experiment_id
        logged = tracker.create_logged_model(experiment, name=name, source_run_id=tracking.child, tags=tags, model_type="transformers")
        with tempfile.TemporaryDirectory() as scratch:  # the registry reads a model's description from its own artifacts
            Model(artifact_path=name, run_id=tracking.child, flavors={"reynard": {"digest": digest, "folder": facts["folder"]}}).save(
                f"{scratch}/MLmodel"
            )
            tracker.log_model_artifacts(logged.model_id, scratch)
        tracker.finalize_logged_model(logged.model_id, "READY")
        version = tracker.create_model_version(
            name, source=f"models:/{logged.model_id}", run_id=tracking.child, tags=tags, model_id=logged.model_id
        )
        tracker.set_registered_model_alias(name, "candidate", version.version)

    if tracking.child:
        attempt(tracking.uri, call)
