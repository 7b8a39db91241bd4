"""The code of a stage to a digest: what a change of code invalidates, and nothing more.

The digest covers the stage's modules and every project module they import, as syntax trees without docstrings and comments.
`tasks.runtime` (where work runs), `tasks.panels` (what people look at) and `recipes` (whose values are in the identity already)
are left out. `task.py` files are wiring: what they import counts, their own text does not.
"""

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("tasks.runtime", "tasks.panels", "recipes")


def _module_file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return tree


def _imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.startswith("tasks.") and not name.startswith(LEFT_OUT)}


@lru_cache
def code_modules(package: str) -> tuple[str, ...]:
    """Return the sorted project modules that a stage package's (or one module's) code consists of, `task.py` files left out."""
    folder = ROOT / Path(*package.split("."))
    pending = {f"{package}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"} or {package}
    seen: set[str] = set()
    while pending:
        module = pending.pop()
        file = _module_file(module)
        if module in seen or file is None or file.name == "__init__.py":
            continue
        seen.add(module)
        pending |= _imports(ast.parse(file.read_text()))
    return tuple(sorted(module for module in seen if not module.endswith(".task")))


@lru_cache
def code_digest(package: str) -> str:
    """Return the hex sha256 (16 digits) of a stage's code, e.g. for `tasks.curation`."""
    total = hashlib.sha256()
    for module in code_modules(package):
        file = _module_file(module)
        assert file is not None
        total.update(f"{module}\n{ast.dump(_without_docstrings(ast.parse(file.read_text())))}\n".encode())
    return total.hexdigest()[:16]
