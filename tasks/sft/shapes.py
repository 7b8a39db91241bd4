"""A row of a published data set to messages of role and content: one pure function for each shape that such sets come in.

A function returns None where the row has not its shape; whether the messages can be trained on is judged afterwards (`chats.fault`).
"""

from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, Any]
Row = dict[str, Any]

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "system": "system"}


def from_messages(row: Row) -> list[Message] | None:
    """Take `messages`, a list of role and content, as Tulu 2 has them (hf.co/datasets/allenai/tulu-v2-sft-mixture)."""
    turns = row.get("messages")
    if not _is_list_of_rows(turns):
        return None
    return [{"role": turn.get("role"), "content": turn.get("content")} for turn in turns]


def from_alpaca(row: Row) -> list[Message] | None:
    """Take `instruction`, `input` (may be empty) and `output` (github.com/tatsu-lab/stanford_alpaca).

    The input stands below the instruction, as in Tulu 2's conversion; Alpaca's own preamble belongs to its template, not to its data.
    """
    asked, given = row.get("instruction"), row.get("input") or ""
    if not isinstance(asked, str) or not isinstance(given, str):
        return None
    question = f"{asked.rstrip()}\n\n{given}" if given.strip() else asked
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row.get("output")}]


def from_sharegpt(row: Row) -> list[Message] | None:
    """Take `conversations`, a list of `from` (human, gpt, system) and `value` (github.com/lm-sys/FastChat, ShareGPT's dumps).

    Some dumps begin with what the assistant says: what comes before the first human is left out, as in Vicuna's and Tulu's preparation.
    """
    turns = row.get("conversations")
    if not _is_list_of_rows(turns):
        return None
    spoken = [{"role": SPEAKERS.get(turn.get("from"), turn.get("from")), "content": turn.get("value")} for turn in turns]
    lead = spoken[:1] if spoken and spoken[0]["role"] == "system" else []
    rest = spoken[len(lead) :]
    first = next((number for number, turn in enumerate(rest) if turn["role"] != "assistant"), len(rest))
    return lead + rest[first:]


def from_oasst(row: Row) -> list[Message] | None:
    """Take the best path of a message tree: `prompt` with `replies`, down to the leaf (OpenAssistant, arXiv 2304.07327, `*.trees.jsonl`).

    Of each message's replies the one that people ranked first goes on (`rank` 0); of those without a rank, the first. Replies that were
    deleted or failed review are not there. A path that ends with the prompter loses that turn: nobody answered it.
    """
    node = row.get("prompt")
    path: list[Message] = []
    while isinstance(node, dict):
        role = {"prompter": "user"}.get(node.get("role"), node.get("role"))
        path.append({"role": role, "content": node.get("text")})
        replies = [reply for reply in node.get("replies") or [] if isinstance(reply, dict) and _is_usable(reply)]
        node = min(replies, key=_rank, default=None)
    if path and path[-1]["role"] == "user" and len(path) > 1:
        path.pop()
    return path or None


def from_prompt_completion(row: Row) -> list[Message] | None:
    """Take `prompt` and `completion`: a text each, or a list of messages each, as in TRL's data sets."""
    prompt, completion = row.get("prompt"), row.get("completion")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    answered = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    if not _is_list_of_rows(asked) or not _is_list_of_rows(answered):
        return None
    return [{"role": turn.get("role"), "content": turn.get("content")} for turn in [*asked, *answered]]


CONVERTERS: dict[str, Callable[[Row], list[Message] | None]] = {
    "messages": from_messages,
    "alpaca": from_alpaca,
    "sharegpt": from_sharegpt,
    "oasst": from_oasst,
    "prompt_completion": from_prompt_completion,
}
FIELDS = {  # by shape, the columns that are read: those it needs, and others that it uses if they are there
    "messages": (["messages"], []),
    "alpaca": (["instruction", "output"], ["input"]),
    "sharegpt": (["conversations"], []),
    "oasst": (["prompt"], []),
    "prompt_completion": (["prompt", "completion"], []),
}


def _is_list_of_rows(turns: object) -> bool:
    return isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)


def _is_usable(reply: Row) -> bool:
    return not reply.get("deleted") and reply.get("review_result") is not False


def _rank(reply: Row) -> float:
    rank = reply.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def texts(messages: list[Message], role: str) -> Iterator[str]:
    """Go through what one role says."""
    return (message["content"] for message in messages if message["role"] == role)
