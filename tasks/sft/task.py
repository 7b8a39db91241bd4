"""Base checkpoint and chats to a chat checkpoint: the Flyte task of the fine-tuning stage."""

import orjson

from recipes.schema import SFT, Model
from tasks.artifacts.handles import Checkpoint, CheckpointRef, Handle, RawSourcesRef, RunRef
from tasks.panels.training import training
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, Reader


@stage_task("tasks.sft")
def finetune(run: RunRef, seed: int, model: Model, section: SFT, raw: RawSourcesRef, base: CheckpointRef) -> CheckpointRef:
    """Fine-tune the base checkpoint on conversations, with loss on the assistant's tokens only."""
    from tasks.engine.facts import stage_facts
    from tasks.engine.launch import run_job
    from tasks.sft.conversations import prepare
    from tasks.sft.finetune import chat_batches, chat_job, conversations_identity, sft_identity, sft_steps

    checkpoint = Reader.of(run, base)
    tokenizer = {entry.path: entry.sha256 for entry in checkpoint.manifest.matching("tokenizer/")}
    rendering = conversations_identity(section, tokenizer)
    with Production(run, "conversations", "conversations", rendering, {"raw": raw}, "tasks.sft") as chats:
        if chats.needed:
            folder = checkpoint.place("tokenizer/", chats.scratch / "tokenizer")
            chats.seal(*prepare(section, folder, chats.scratch, chats.add_file))
        conversations = chats.handle(Handle)
        chat_manifest = chats.manifest
    assert chat_manifest is not None
    identity = sft_identity(section, model, seed)
    with Production(run, "checkpoint", "sft", identity, {"parent": base, "conversations": conversations}, "tasks.sft") as made:
        if made.needed:
            batches = chat_batches(section, seed, run.store, chats.folder, chat_manifest)
            parent_folder = made.store.key(base.uri).removesuffix("/manifest.json")
            job = chat_job(
                section, model, seed, batches, parent_folder, run.store, f"working/{made.version}", made.folder, chat_manifest.counts
            )
            files, rows, world_size = run_job(job, find_profile(run.profile), made.tracking, str(made.scratch))
            made.files += files
            made.add_text("model.json", orjson.dumps(model.model_dump(mode="json")))
            for entry in checkpoint.manifest.matching("tokenizer/"):
                made.copy_file(checkpoint.path(entry.path), entry.path)
            made.add_text("template.json", orjson.dumps({"template": section.template}))
            made.add_text("journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows), record=True)
            steps = sft_steps(section, chat_manifest.counts)
            counts = stage_facts(model, "sft", 0, steps, steps * job.tokens_per_step, rows)
            made.seal(counts, {
                "mixture": {"conversations": steps * job.tokens_per_step}, "chunk_tokens": {"conversations": section.max_tokens},
                "batch_tokens": job.tokens_per_step, "first_step": 0, "stage_steps": steps,
                "stage_tokens": steps * job.tokens_per_step, "world_size": world_size, "conversations": chat_manifest.counts})  # fmt: skip
            made.store.delete(f"working/{made.version}")
        assert made.manifest is not None
        show("fine-tuning", training([(made.manifest, made.journal_rows())]))
        return made.handle(Checkpoint)
