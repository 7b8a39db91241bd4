"""Base checkpoint and chats to a chat checkpoint: the Flyte task of the fine-tuning stage."""

import orjson

from recipes.schema import SFT, Model
from tasks.artifacts.handles import Checkpoint, CheckpointRef, Handle, RawSourcesRef, RunRef
from tasks.panels.conversations import conversations
from tasks.panels.training import training
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.interface import Seed
from tasks.runtime.production import Production, Reader, load_manifest
from tasks.runtime.steps import Steps


@stage_task("tasks.sft")
def finetune(run: RunRef, seed: Seed, model: Model, section: SFT, raw: RawSourcesRef, base: CheckpointRef) -> CheckpointRef:
    """Fine-tune the base checkpoint on conversations, with loss on the assistant's tokens only."""
    from tasks.engine.facts import stage_facts
    from tasks.engine.launch import run_job
    from tasks.sft.finetune import chat_batches, chat_job, conversations_identity, sft_identity
    from tasks.sft.merging import add_merged
    from tasks.sft.rendering import render_all

    checkpoint, profile = Reader.of(run, base), find_profile(run.profile)
    tokenizer = {entry.path: entry.sha256 for entry in checkpoint.manifest.matching("tokenizer/")}
    rendering = conversations_identity(section, tokenizer)
    with Production(run, "conversations", "conversations", rendering, {"raw": raw}, "tasks.sft") as chats:
        if chats.needed:
            steps = Steps(chats.store, "working/conversations", profile.cpu_workers)

            def publish(done, name: str, path: str) -> None:
                chats.adopt_file(done.key(name), path, **done.files[name])

            places = load_manifest(run, raw).details["places"]
            told = render_all(section, places, checkpoint.folder, tokenizer, steps, publish, chats.add_file, chats.scratch)
            chats.seal(*told, {"step_seconds": steps.seconds, "items_made": steps.made})
            steps.forget(keep=())
        rendered = chats.handle(Handle)
        assert chats.manifest is not None
        show("conversations", conversations(chats.manifest))
    identity = sft_identity(section, model, seed)
    with Production(run, "checkpoint", "sft", identity, {"parent": base, "conversations": rendered}, "tasks.sft") as made:
        if made.needed:
            batches = chat_batches(section, seed, Reader(made.store, chats.manifest), profile)
            job = chat_job(section, model, seed, batches, checkpoint.folder, f"working/{made.version}", made.folder, chats.manifest.counts)
            files, rows, world_size = run_job(job, profile, made.tracking, str(made.scratch))
            made.files += files
            if section.lora is not None:
                add_merged(section.lora, checkpoint, files, made.store, made.folder, made.scratch, made.add_file)
            made.add_text("model.json", orjson.dumps(model.model_dump(mode="json")))
            for entry in checkpoint.manifest.matching("tokenizer/"):
                made.copy_file(checkpoint.path(entry.path), entry.path)
            made.add_text("template.json", orjson.dumps({"template": section.template}))
            made.add_text("journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows), record=True)
            tokens = batches.steps * job.tokens_per_step
            counts = stage_facts(model, "sft", 0, batches.steps, tokens, rows)
            made.seal(counts, {
                "mixture": {"conversations": tokens}, "chunk_tokens": {"conversations": section.max_tokens},
                "batch_tokens": job.tokens_per_step, "first_step": 0, "stage_steps": batches.steps, "stage_tokens": tokens,
                "world_size": world_size, "conversations": chats.manifest.counts, "order": batches.fingerprint(),
                "packing": {"conversations": batches.efficiency()}})  # fmt: skip
            made.store.delete(f"working/{made.version}")
        assert made.manifest is not None
        show("fine-tuning", training([(made.manifest, made.journal_rows())]))
        return made.handle(Checkpoint)
