"""The standard library's files to conversations about Python: docstrings, and the topics of `pydoc_data`, as answers to made-up questions."""

import ast
import hashlib
import inspect
from collections.abc import Iterator

from tasks.sources.files import RawFile, open_raw

Message = dict[str, str]
ANSWER_CHARACTERS = 320
MIN_ANSWER_CHARACTERS = 24


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
