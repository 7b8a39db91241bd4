"""The fine-tuning section of a recipe and its rendered conversations to an engine job."""

from recipes.errors import BadInput
from recipes.schema import SFT, Model
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import STREAMS
from tasks.engine.job import Job
from tasks.engine.schedule import Horizon
from tasks.model.flops import flops_per_token
from tasks.runtime.cluster import Profile
from tasks.runtime.production import Reader
from tasks.sft.conversations import ChatBatches, open_conversations


def conversations_identity(section: SFT, tokenizer: JSON) -> JSON:
    """Return what decides rendered conversations besides the raw ones; `tokenizer` is the sha256 of each of its files."""
    data = {key: getattr(section, key) for key in ("max_unreadable_fraction", "drop_other_assistants", "template", "max_tokens")}
    return data | {"sources": [source.model_dump(mode="json") for source in section.sources], "tokenizer": tokenizer}


def sft_identity(section: SFT, model: Model, seed: int) -> JSON:
    """Return what decides the chat checkpoint besides its parents."""
    sft = section.model_dump(mode="json", exclude={"sources", "max_unreadable_fraction", "checkpoint_every_steps", "keep_checkpoints"})
    return {"seed": seed, "model": model.model_dump(mode="json"), "sft": sft}


def sft_steps(section: SFT, counts: JSON) -> int:
    """Return the optimizer steps of the budget: whole batches in `epochs` of the conversations, or in `tokens`."""
    epochs = section.epochs if section.epochs is not None else (section.tokens or 0) / counts["tokens"]
    steps = int(counts["conversations"] * epochs) // section.batch_conversations
    if steps < 1:
        raise BadInput(
            f"sft has {counts['conversations']} conversations, {epochs:.3g} epochs of which are less than one batch of {section.batch_conversations}: "
            "lower sft.batch_conversations, raise the budget or add data"
        )
    return steps


def chat_batches(section: SFT, seed: int, conversations: Reader, profile: Profile) -> ChatBatches:
    """Open the rendered conversations as batches, in rows for the profile's workers."""
    sha256 = {entry.path: entry.sha256 for entry in conversations.manifest.files}
    stream, lengths, targets = open_conversations(conversations.store.root, conversations.folder, conversations.path(STREAMS), sha256)
    return ChatBatches(
        seed=seed, batch_conversations=section.batch_conversations, steps=sft_steps(section, conversations.manifest.counts),
        max_tokens=section.max_tokens, workers=profile.workers, rows_at_once=max(profile.micro_batch_tokens // section.max_tokens, 1),
        stream=stream, lengths=lengths, targets_of=targets,
    )  # fmt: skip


def chat_job(
    section: SFT, model: Model, seed: int, batches: ChatBatches, parent_folder: str, working: str, final: str, counts: JSON
) -> Job:
    """Make the engine's job. The optimizer starts anew: fine-tuning is another problem with its own schedule."""
    return Job(
        stage="sft", seed=seed, model=model, precision=section.precision, optimizer=section.optimizer, schedule=section.schedule,
        anomalies=section.anomalies, horizon=Horizon(batches.steps), batches=batches, first_step=0, first_token=0,
        tokens_per_step=counts["tokens"] * section.batch_conversations // counts["conversations"],
        flops_per_token=flops_per_token(model, section.max_tokens, section.lora), publish_every_tokens=None,
        checkpoint_every_steps=section.checkpoint_every_steps, keep_checkpoints=section.keep_checkpoints, parent_folder=parent_folder,
        keep_optimizer_state=False, store=batches.stream.store, working_folder=working, final_folder=final,
        lora=section.lora,
    )  # fmt: skip
