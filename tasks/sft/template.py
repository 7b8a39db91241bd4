"""Messages to the token ids that are trained, by the very chat template that is released with the model."""

from pathlib import Path

import numpy as np

from recipes.errors import BadInput
from tasks.model.template import TEMPLATES, TURN_END

Message = dict[str, str]
NOT_TRAINED = -100


def open_tokenizer(folder: Path, template: str | None = None):
    """Open a tokenizer folder with `transformers`, with a chat template by name if one is asked for; BadInput if it lacks its tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if template is not None:
        tokenizer.chat_template = TEMPLATES[template]
        if TURN_END in tokenizer.chat_template and TURN_END not in tokenizer.get_vocab():
            raise BadInput(
                f"sft.template {template!r} ends turns with {TURN_END}, for which the tokenizer has no piece: use Gemma's tokenizer, or "
                "another template"
            )
    return tokenizer


class Renderer:
    """Renders conversations, many at once."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer
        words = set(tokenizer.all_special_tokens) | ({TURN_END, "<start_of_turn>"} if TURN_END in tokenizer.chat_template else set())
        self.control = sorted(words)

    def spells_control_token(self, messages: list[Message]) -> bool:
        """Tell whether a content spells out a token that has a meaning of its own: it would end a turn in its middle, or begin one."""
        return any(word in message["content"] for message in messages for word in self.control)

    def render(self, chats: list[list[Message]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return of each conversation its ids (int64) and which of them are trained on (bool)."""
        made = self.tokenizer.apply_chat_template(chats, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        return [
            (np.array(ids, dtype=np.int64), np.array(trained, dtype=bool))
            for ids, trained in zip(made["input_ids"], made["assistant_masks"], strict=True)
        ]
