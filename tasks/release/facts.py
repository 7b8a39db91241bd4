"""What a release is judged by: what was declared, what a clean process found in the folder, and what speaks for it beside the folder."""

from dataclasses import dataclass

from tasks.artifacts.manifest import JSON


@dataclass(frozen=True)
class Declared:
    """What the recipe and the checkpoint say of the model."""

    is_chat: bool
    parameters: int
    tied: bool
    precision: str  # in which the trainer made its own logits


@dataclass(frozen=True)
class Loaded:
    """What a clean process found in the folder; `verify_export.py` says how."""

    trainer_difference: float  # largest, between the folder's logits and those that the trainer saved, over the trainer's probe
    trainer_largest: float  # largest magnitude among the trainer's logits
    decoder_difference: float  # largest, between the folder's logits and those of this project's decoder on the checkpoint's weights
    prompts: list[JSON]  # text, ids and expected_ids of the prompt, output_ids and the expected ones, as far as these are beyond a tie
    missing_weights: list[str]
    unexpected_weights: list[str]
    parameters: int
    ids: dict[str, list[int | None]]  # of bos, eos and pad: in the tokenizer, the config, the generation config
    tokenizer_size: int
    embedding_rows: int
    config_vocabulary: int
    stops: dict[str, bool]  # of each token that ends what the model says: whether generation stopped at it
    has_chat_template: bool
    conversations: int  # rendered by the folder's own template
    different_conversations: list[int]  # of these, the ones that came out as other ids or other targets than were trained on
    declared_dtype: str
    dtypes: list[str]  # of the tensors in the files
    config_tied: bool
    loaded_tied: bool
    files_have_head: bool


@dataclass(frozen=True)
class Evidence:
    """What speaks for a release beside the folder: its scores, its licences, what it claims."""

    checkpoint: str  # its digest
    scored_checkpoint: str  # the digest of the checkpoint that was scored
    unscored: list[str]  # suite/task that the recipe wants and the scores lack, or of which no card is in the store
    scores: dict[str, float]
    thresholds: dict[str, float]
    unknown_licences: list[str]  # a sentence for each part whose licence nobody knows
    claimed_class: str
    computed_class: str
    lacking: list[str]  # what stands between the computed class and the claimed one


@dataclass(frozen=True)
class Facts:
    """All that is judged. `load_error` is the clean process's last words, empty if the folder loaded."""

    declared: Declared
    files: list[str]
    load_error: str = ""
    loaded: Loaded | None = None
    evidence: Evidence | None = None
