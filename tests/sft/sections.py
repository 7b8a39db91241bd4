"""The fine-tuning section of a recipe, and a model of a few thousand parameters, for tests."""

from collections.abc import Sequence

from recipes.schema import SFT, ChatSource, Model

MODEL = Model(
    family="llama", vocabulary_size=290, hidden_size=16, intermediate_size=32, layers=2, heads=2, kv_heads=1, head_size=8, context_tokens=64,
    rope_theta=10000.0, norm_eps=1e-5, tied_embeddings=True, sliding_window=None, initialization="scratch", initializer_range=0.2,
)  # fmt: skip


def sft_section(sources: Sequence[ChatSource], **changes) -> SFT:
    """Return a section with sources; `changes` replace fields."""
    return SFT.model_validate({
        "sources": [source.model_dump() for source in sources], "max_unreadable_fraction": 0.3, "drop_other_assistants": False,
        "template": "tulu_bos", "max_tokens": 64, "batch_conversations": 1, "epochs": 1.0, "precision": "float32", "lora": None,
        "optimizer": {"peak_learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "max_gradient_norm": 1.0},
        "schedule": {"form": "linear", "warmup_steps": 0, "final_fraction": 0.0}, "checkpoint_every_steps": 10,
        "anomalies": {"policy": "log", "window_steps": 8, "threshold": 8.0, "most_skipped_steps": 0},
    } | changes)  # fmt: skip
