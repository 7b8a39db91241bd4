"""Raw documents to documents worth training on: the Flyte task of the curation stage."""

from recipes.curation import Curation
from tasks.artifacts.handles import Documents, DocumentsRef, RawSourcesRef, RunRef
from tasks.panels.curation import curation
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, load_manifest
from tasks.runtime.steps import Steps


@stage_task("tasks.curation")
def curate_documents(run: RunRef, section: Curation, raw: RawSourcesRef) -> DocumentsRef:
    """Clean, score and deduplicate all sources; every removal is counted by reason and recorded with what it duplicates."""
    from tasks.curation.curate import MEASUREMENTS, curate

    with Production(run, "documents", "documents", section, {"raw": raw}, "tasks.curation") as made:
        if made.needed:
            steps = Steps(made.store, "working/curation", find_profile(run.profile).cpu_workers)

            def publish(done, name: str, path: str) -> None:
                made.adopt_file(done.key(name), path, **done.files[name])

            counts, details = curate(section, load_manifest(run, raw).details["places"], steps, publish)
            made.seal(counts, details, {"step_seconds": steps.seconds, "items_made": steps.made})
            steps.forget(keep=MEASUREMENTS)
        assert made.manifest is not None
        show("curation", curation(made.manifest))
        return made.handle(Documents)
