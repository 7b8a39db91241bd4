"""Raw documents to documents worth training on: the Flyte task of the curation stage."""

from recipes.schema import Curation
from tasks.artifacts.handles import Documents, DocumentsRef, RawSourcesRef, RunRef
from tasks.panels.curation import curation
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production


@stage_task("tasks.curation")
def curate_documents(run: RunRef, section: Curation, raw: RawSourcesRef) -> DocumentsRef:
    """Clean, score and deduplicate all sources; every removal is counted by reason and recorded with what it duplicates."""
    from tasks.curation.curate import curate

    with Production(run, "documents", "documents", section, {"raw": raw}, "tasks.curation") as made:
        if made.needed:
            made.seal(*curate(section, made.scratch, made.add_file))
        assert made.manifest is not None
        show("curation", curation(made.manifest))
        return made.handle(Documents)
