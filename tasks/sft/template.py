"""Messages to the token ids and labels that are trained, by the very chat template that is released with the model."""

from pathlib import Path

from tasks.model.template import TEMPLATES

NOT_TRAINED = -100


def open_tokenizer(folder: Path, template: str | None = None):
    """Open a tokenizer folder with `transformers`, with a chat template by name if one is asked for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if template is not None:
        tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def render(tokenizer, messages: list[dict[str, str]], max_tokens: int) -> tuple[list[int], list[int], bool]:
    """Return a conversation's ids, its labels (the next token, or -100 where it is not an assistant's) and whether it was cut.

    Both lists have the same length; `labels[i]` is the target of position i.
    """
    made = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = made["input_ids"], made["assistant_masks"]
    cut = len(ids) > max_tokens + 1
    ids, mask = ids[: max_tokens + 1], mask[: max_tokens + 1]
    labels = [token if trained else NOT_TRAINED for token, trained in zip(ids[1:], mask[1:], strict=True)]
    return ids[:-1], labels, cut
