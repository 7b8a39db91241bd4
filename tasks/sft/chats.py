"""Sources of conversations to rows of messages, bad rows counted by reason: what the fine-tuning stage learns from."""

import ast
import hashlib
import inspect
import itertools
from collections import Counter
from collections.abc import Iterator

import orjson

from recipes.errors import BadInput
from recipes.schema import SFT, ChatSource
from tasks.sources.files import RawFile, find_files, open_raw

Message = dict[str, str]
ROLES = ("system", "user", "assistant")
ANSWER_CHARACTERS = 320
MIN_ANSWER_CHARACTERS = 24
FIRST_ROWS = 100


def read_chats(section: SFT) -> tuple[list[list[Message]], Counter]:
    """Read all conversations; return them with counts (`rows`, `kept`, and dropped rows by reason).

    BadInput if a source has no good conversation or more bad rows than the recipe allows.
    """
    chats: list[list[Message]] = []
    counts: Counter = Counter()
    for source in section.sources:
        mine: Counter = Counter()
        for file in find_files(source.location, f"sft source {source.name!r}"):
            for messages in _rows(source, file):
                mine["rows"] += 1
                reason = fault(messages)
                if reason is None:
                    chats.append([{"role": m["role"], "content": m["content"]} for m in messages])
                else:
                    mine[reason] += 1
        bad = sum(mine.values()) - mine["rows"]
        if mine["rows"] == bad:
            raise BadInput(
                f"sft source {source.name!r} has no usable conversation in {source.location!r} ({bad} bad rows): each row needs `messages` of role and content"
            )
        if bad > section.max_unreadable_fraction * mine["rows"]:
            reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(mine.items()) if reason != "rows")
            raise BadInput(
                f"sft source {source.name!r}: {bad} of {mine['rows']} rows are bad ({reasons}), more than max_unreadable_fraction "
                f"{section.max_unreadable_fraction} allows: mend them or raise the limit in the recipe"
            )
        counts.update(mine)
    counts["kept"] = len(chats)
    return chats, counts


def check_chats(section: SFT) -> None:
    """Look at the first rows of every source; BadInput if none of them is a conversation or a file cannot be read."""
    for source in section.sources:
        who = f"sft source {source.name!r}"
        try:
            rows = itertools.chain.from_iterable(_rows(source, file) for file in find_files(source.location, who))
            faults = [fault(messages) for messages in itertools.islice(rows, FIRST_ROWS)]
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"{who} cannot be read as {source.format} ({type(error).__name__}: {str(error)[:120]}): check its files"
            ) from None
        if None not in faults:
            raise BadInput(
                f"{who}: none of the first {len(faults)} rows is a conversation ({', '.join(sorted({str(f) for f in faults})) or 'no rows'}): "
                "each row needs `messages`, a list of role and content that ends with the assistant"
            )


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


def _rows(source: ChatSource, file: RawFile) -> Iterator[object]:
    if source.format == "jsonl":
        with open_raw(file.path) as stream:
            for line in stream:
                if line.strip():
                    try:
                        yield orjson.loads(line)["messages"]
                    except (orjson.JSONDecodeError, KeyError, TypeError):
                        yield None
    elif source.format == "parquet":
        import pyarrow.parquet

        with open_raw(file.path) as stream:
            for batch in pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=1024, columns=["messages"]):
                yield from batch.column(0).to_pylist()
    else:
        yield from python_help(file)


def python_help(file: RawFile) -> Iterator[list[Message]]:
    """Make conversations about Python from a standard-library file: its docstrings, or the topics of `pydoc_data`."""
    with open_raw(file.path) as stream:
        tree = ast.parse(stream.read())
    if file.address.endswith("pydoc_data/topics.py"):
        yield from _topics(tree)
        return
    module = file.address.removeprefix("stdlib:").removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    if any(part.startswith("_") for part in module.split(".")):
        return
    yield from _about(f"the `{module}` module", tree, ("What is {0} for?", "Tell me about {0}."))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            kind = (
                ("What does `{0}` do?", "How would you describe `{0}`?")
                if isinstance(node, ast.FunctionDef)
                else ("What is `{0}`?", "Explain `{0}` to me.")
            )
            yield from _about(f"{module}.{node.name}", node, kind)
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    name = f"{module}.{node.name}.{inner.name}"
                    yield from _about(name, inner, ("What does `{0}` do?", "What is the method `{0}` for?"))


def _about(name: str, node: ast.Module | ast.ClassDef | ast.FunctionDef, questions: tuple[str, ...]) -> Iterator[list[Message]]:
    answer = _shorten(ast.get_docstring(node) or "")
    if len(answer) >= MIN_ANSWER_CHARACTERS:
        pick = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % len(questions)
        yield [{"role": "user", "content": questions[pick].format(name)}, {"role": "assistant", "content": answer}]


def _topics(tree: ast.Module) -> Iterator[list[Message]]:
    table = next(node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict))
    for key, value in ast.literal_eval(table).items():
        body = "\n".join(line for line in inspect.cleandoc(value).splitlines()[2:])
        answer = _shorten(body)
        if len(answer) >= MIN_ANSWER_CHARACTERS:
            yield [{"role": "user", "content": f"Explain `{key}` in Python."}, {"role": "assistant", "content": answer}]


def _shorten(text: str) -> str:
    """Return a text's first paragraph as one line, cut after a sentence if it is long."""
    line = " ".join(text.strip().split("\n\n")[0].split())
    if len(line) <= ANSWER_CHARACTERS:
        return line
    cut = line.rfind(". ", 0, ANSWER_CHARACTERS)
    return line[: cut + 1] if cut > 0 else ""
