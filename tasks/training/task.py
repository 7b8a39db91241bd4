"""Token shards to a base checkpoint: the Flyte task of one curriculum stage; the workflow chains three of them."""

from typing import Annotated

import orjson

from recipes.schema import Model, Pretraining
from tasks.artifacts.handles import Checkpoint, CheckpointRef, RunRef, TokensRef
from tasks.panels.training import training
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.interface import Seed
from tasks.runtime.production import Production, Reader


@stage_task("tasks.training")
def train_stage(
    run: RunRef, seed: Seed, model: Model, pretraining: Pretraining, number: Annotated[int, "Which stage of the curriculum, from 1."],
    tokens: TokensRef, parent: CheckpointRef | None = None,
) -> CheckpointRef:  # fmt: skip
    """Train curriculum stage `number` (1 to 3) from its parent's checkpoint on its own mixture, chunk lengths and batch."""
    from tasks.engine.facts import stage_facts
    from tasks.engine.journal import steps_taken_again
    from tasks.engine.launch import run_job
    from tasks.training.published import Publisher
    from tasks.training.supply import check_all_stages, open_batches
    from tasks.training.train_stage import first_step, stage_identity, stage_job

    stage = pretraining.stages[number - 1]
    identity = stage_identity(model, pretraining, number - 1, seed)
    parents = {"tokens": tokens} | ({"parent": parent} if parent else {})
    with Production(run, "checkpoint", stage.name, identity, parents, "tasks.training") as made:
        if made.needed:
            reader = Reader.of(run, tokens)
            if number == 1:
                check_all_stages(reader, model, pretraining)
            batches = open_batches(reader, stage, seed, pretraining.attention_across_documents)
            parent_folder = made.store.key(parent.uri).removesuffix("/manifest.json") if parent else None
            job = stage_job(model, pretraining, number - 1, seed, batches, parent_folder, run.store, f"working/{made.version}", made.folder)
            publisher = Publisher(run, job, identity, parents, reader)
            files, rows, world_size = run_job(job, find_profile(run.profile), made.tracking, str(made.scratch), publisher.take)
            publisher.take()  # before the stage is sealed: afterwards nobody comes here again
            made.files += files
            made.add_text("model.json", orjson.dumps(model.model_dump(mode="json")))
            for entry in reader.manifest.matching("tokenizer/"):
                made.copy_file(reader.path(entry.path), entry.path)
            made.add_text("journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows), record=True)
            before = parent.tokens if parent else 0
            counts = stage_facts(
                model, stage.name, first_step(pretraining, number - 1), stage.steps, before + stage.steps * stage.batch_tokens, rows
            )
            made.seal(counts, {
                "mixture": batches.mixture_tokens(), "chunk_tokens": {entry.source: entry.chunk_tokens for entry in stage.mixture},
                "batch_tokens": stage.batch_tokens, "first_step": first_step(pretraining, number - 1),
                "stage_steps": stage.steps, "stage_tokens": stage.steps * stage.batch_tokens,
                "world_size": world_size, "order": batches.fingerprint(), "packing": batches.packing(),
            }, {"steps_taken_again": steps_taken_again(made.store, job.working_folder)})  # fmt: skip
            made.store.delete(f"working/{made.version}")
        assert made.manifest is not None
        show("training", training([(made.manifest, made.journal_rows())]))
        return made.handle(Checkpoint)
