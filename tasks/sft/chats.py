"""Sources of conversations to rows of messages, bad rows counted by reason: what the fine-tuning stage learns from."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from recipes.errors import BadInput
from recipes.schema import SFT, ChatSource
from tasks.sft.python_help import python_help
from tasks.sft.shapes import CONVERTERS, FIELDS, texts
from tasks.sources.units import PinnedFile, Unit, pin_files

Message = dict[str, str]
ROLES = ("system", "user", "assistant")
FIRST_ROWS = 100
MAX_ROW_BYTES = 64_000_000  # of a line of JSON: a longer one is unreadable

# What an assistant may not say of itself, word by word and in any case: the list with which Tulu 2 dropped rows that name other
# assistants (open-instruct, scripts/data/sft/utils.py; its commented-out names, which mean other things too, are not dropped).
OTHER_ASSISTANTS = (
    "OpenAI", "Open AI", "ChatGPT", "Chat GPT", "GPT-3", "GPT3", "GPT 3", "GPT-4", "GPT4", "GPT 4", "GPT-3.5", "GPT3.5", "GPT 3.5",
    "BingChat", "Bing Chat", "LAION", "Open Assistant", "OpenAssistant",
)  # fmt: skip
_NAMED = re.compile(rf"\b(?:{'|'.join(map(re.escape, OTHER_ASSISTANTS))})\b", re.IGNORECASE)


class Chat(NamedTuple):
    """A row of a source: its messages, or why it has none. `address` (`file#position`) leads back to its bytes."""

    messages: list[Message] | None
    address: str
    fault: str = ""


def read_chats(source: ChatSource, unit: Unit, drop_other_assistants: bool) -> Iterator[Chat]:
    """Read the rows of a unit in order, in bounded memory; BadInput if a column that the shape needs is missing altogether."""
    for value, address in _rows(source, unit):
        messages = value if source.shape is None else CONVERTERS[source.shape](value) if isinstance(value, dict) else None
        reason = fault(messages)
        if reason is None and drop_other_assistants and names_other_assistant(messages):
            reason = "names_other_assistant"
        yield Chat(None, address, reason) if reason else Chat(messages, address)


def fault(messages: object) -> str | None:
    """Return why a row cannot be trained on, or None: unreadable, unknown_role, empty_turn, wrong_order, no_assistant."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in messages):
        return "unreadable"
    roles = [m.get("role") for m in messages]
    if any(role not in ROLES for role in roles):
        return "unknown_role"
    if any(not m["content"].strip() for m in messages):
        return "empty_turn"
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if "assistant" not in spoken:
        return "no_assistant"
    if any(role != ("user", "assistant")[turn % 2] for turn, role in enumerate(spoken)):
        return "wrong_order"
    return None


def names_other_assistant(messages: list[Message]) -> bool:
    """Tell whether the assistant names another one (`OTHER_ASSISTANTS`), as one that speaks of itself as ChatGPT does."""
    return any(_NAMED.search(text) for text in texts(messages, "assistant"))


def check_limit(section: SFT, counts: dict[str, Counter]) -> None:
    """Refuse sources without a good conversation, and those with more bad rows than the recipe allows; `counts` are reasons by source.

    A row that was chosen to be left out (it names another assistant) is not a bad one.
    """
    for source in section.sources:
        mine = counts[source.name]
        if not mine["kept"]:
            raise BadInput(
                f"sft source {source.name!r} has no usable conversation in {source.location!r} ({mine['rows']} rows: {reasons(mine)}): "
                "check its format and shape"
            )
        bad = mine["rows"] - mine["kept"] - mine["names_other_assistant"]
        if bad > section.max_unreadable_fraction * mine["rows"]:
            raise BadInput(
                f"sft source {source.name!r}: {bad} of {mine['rows']} rows are bad ({reasons(mine)}), more than max_unreadable_fraction "
                f"{section.max_unreadable_fraction} allows: mend them or raise the limit in the recipe"
            )


def reasons(counts: Counter) -> str:
    """Write why rows were left out, the most frequent reason first."""
    left = {reason: number for reason, number in counts.items() if reason not in ("rows", "kept") and number}
    return ", ".join(f"{number} {reason}" for reason, number in sorted(left.items(), key=lambda item: (-item[1], item[0]))) or "none"


def check_chats(section: SFT) -> None:
    """Look at the first rows of every source; BadInput if none of them is a conversation or a file cannot be read."""
    for source in section.sources:
        who = f"sft source {source.name!r}"
        try:
            rows = itertools.chain.from_iterable(
                read_chats(source, Unit(source.name, (file,)), section.drop_other_assistants) for file in first_files(source)
            )
            faults = [chat.fault for chat in itertools.islice(rows, FIRST_ROWS)]
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"{who} cannot be read as {source.format} ({type(error).__name__}: {str(error)[:120]}): check its files"
            ) from None
        if "" not in faults:
            found, wanted = ", ".join(sorted(set(faults))) or "no rows", f" in the shape {source.shape!r}" if source.shape else ""
            raise BadInput(
                f"{who}: none of the first {len(faults)} rows is a conversation{wanted} ({found}): check its `shape`, and that user and "
                "assistant take turns"
            )


def first_files(source: ChatSource) -> list[PinnedFile]:
    """Return a source's files without looking at their bytes; BadInput if there are none."""
    from tasks.sources.files import find_files

    if source.format == "dataset":
        return pin_files(source)
    found = find_files(source.location, f"sft source {source.name!r}", source.revision)
    return [PinnedFile(file.path, file.address, 0, "") for file in found]


def _rows(source: ChatSource, unit: Unit) -> Iterator[tuple[object, str]]:
    """Read a unit's rows with their addresses; None stands for bytes that are no row."""

    def pair(row: object, address: str) -> tuple[object, str]:
        return row, address

    for file in unit.files:
        if source.format == "python_docstrings":
            yield from ((messages, f"{file.address}#{number}") for number, messages in enumerate(python_help(file.raw)))
            continue
        needed, others = FIELDS[source.shape or "messages"]
        for found in _formatted(source, unit, file, needed, [*needed, *others], pair):
            yield found if len(found) == 2 else (None, found.address)  # a Record of bytes that cannot be read


def _formatted(source: ChatSource, unit: Unit, file: PinnedFile, needed: list[str], fields: list[str], pair) -> Iterator:
    begin = unit.begin or 0
    if source.format == "jsonl":
        from tasks.sources.json_lines import read_json_lines

        yield from read_json_lines(file.raw, pair, MAX_ROW_BYTES, begin, unit.end)
    elif source.format == "parquet":
        from tasks.sources.parquet import read_parquet

        yield from read_parquet(file.raw, fields, needed, pair, begin, unit.end)
    else:
        from tasks.sources.hub_datasets import count_shards, read_shard

        for shard in range(begin, count_shards(source) if unit.end is None else unit.end):
            yield from read_shard(source, file.address, fields, needed, pair, shard)
