"""Raw documents to documents worth training on: the Flyte task of the curation stage."""

from pathlib import Path

from recipes.curation import Curation
from tasks.artifacts.documents import last_documents
from tasks.artifacts.handles import Documents, DocumentsRef, RawSourcesRef, RunRef
from tasks.panels.curation import curation
from tasks.panels.page import page
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
        made.store.write(last_documents(run.name), made.version.encode())
        panel = curation(made.manifest)
        show("curation", panel)
        if (folder := Path(run.folder)).is_dir():  # on the machine that started the run
            (folder / "curation.html").write_text(page(f"Curation of {run.name}", "", [("documents", made.label)], [panel]))
            print(f"  report: {folder / 'curation.html'}", flush=True)
        return made.handle(Documents)
