"""Messages to the token ids that are trained, by the very chat template that is released with the model.

Text and marks of what is trained come from what `apply_chat_template` of `transformers` renders with. The marks are places in the text; instead of asking
the tokenizer where each token stands in it (two thirds of the time), the lengths of the tokens' pieces are added up. That is exact
where pieces make up the text, is checked on every conversation, and where it is not so, `transformers` says which tokens are trained.
"""

from functools import cached_property
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
        self.fast = tokenizer.backend_tokenizer
        words = set(tokenizer.all_special_tokens) | ({TURN_END, "<start_of_turn>"} if TURN_END in tokenizer.chat_template else set())
        self.control = sorted(words)

    def spells_control_token(self, messages: list[Message]) -> bool:
        """Tell whether a content spells out a token that has a meaning of its own: it would end a turn in its middle, or begin one."""
        return any(word in message["content"] for message in messages for word in self.control)

    def render(self, chats: list[list[Message]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return of each conversation its ids (int64) and which of them are trained on (bool)."""
        from transformers.utils.chat_template_utils import render_jinja_template

        template, names = self.tokenizer.chat_template, self.tokenizer.special_tokens_map
        made, spans = render_jinja_template(chats, chat_template=template, return_assistant_tokens_mask=True, **names)
        encodings = self.fast.encode_batch_fast(made, add_special_tokens=False)
        found = []
        for chat, text, ranges, encoding in zip(chats, made, spans, encodings, strict=True):
            ids = np.array(encoding.ids, dtype=np.int64)
            trained = self._marks(ids, text, ranges)
            found.append((ids, self._asked(chat, ids) if trained is None else trained))
        return found

    def _asked(self, chat: list[Message], ids: np.ndarray) -> np.ndarray:
        made = self.tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert made["input_ids"] == ids.tolist(), "the same text has the same ids"
        return np.array(made["assistant_masks"], dtype=bool)

    @cached_property
    def _sizes(self) -> np.ndarray:
        """The bytes of each piece of the vocabulary."""
        vocabulary = self.tokenizer.get_vocab()
        sizes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
        for piece, number in vocabulary.items():
            is_byte = len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
            sizes[number] = 1 if is_byte else len(piece.replace("▁", " ").encode())
        return sizes

    def _marks(self, ids: np.ndarray, text: str, ranges: list[tuple[int, int]]) -> np.ndarray | None:
        """Tell which ids stand for some of the text's ranges, None if their pieces do not add up to the text."""
        ends = np.cumsum(self._sizes[ids])
        size = len(text.replace("▁", " ").encode())
        ahead = int(ends[-1]) - size if len(ends) else -1
        if ahead not in (0, 1):  # 1: a dummy prefix
            return None
        trained = np.zeros(len(ids), dtype=bool)
        for first, last in ranges:
            begin = len(text[:first].replace("▁", " ").encode()) + ahead
            end = begin + len(text[first:last].replace("▁", " ").encode())
            trained[np.searchsorted(ends, begin, side="right") : np.searchsorted(ends, end, side="left") + 1] = True
        return trained
