"""The house rules as tests: what imports what, what registration loads, how long things are, what names are banned."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ["recipes", "tasks", "workflows", "reynard", "infra"]
FILES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
HEAVY = ("torch", "ray", "deepspeed", "transformers", "datasets", "lm_eval", "mlflow", "sentencepiece", "datasketch", "huggingface_hub")
BANNED_NAMES = {"utils", "common", "helpers", "misc", "base", "manager", "core"}


def test_importing_all_workflows_loads_no_heavy_package():
    program = (
        "import importlib, sys\n"
        f"for name in {[path.stem for path in (ROOT / 'workflows').glob('*.py') if path.stem != '__init__']}: importlib.import_module('workflows.' + name)\n"
        f"print(','.join(sorted(set({HEAVY}) & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_workflow_file_holds_one_workflow_of_its_own_name():
    from flytekit.core.workflow import PythonFunctionWorkflow

    for path in (ROOT / "workflows").glob("[a-z]*.py"):
        module = __import__(f"workflows.{path.stem}", fromlist=["x"])
        own = [v for v in vars(module).values() if isinstance(v, PythonFunctionWorkflow) and v.name == f"workflows.{path.stem}.{path.stem}"]
        assert len(own) == 1, path.name


def test_stages_never_import_each_other_but_for_the_four_that_ask_others():
    stages = {path.parent.name for path in (ROOT / "tasks").glob("*/task.py")}
    asking = {"preflight", "planning", "publication", "contamination"}
    assert asking | {"drill", "curation", "tokenization", "training", "sft", "evaluation", "release", "publishing", "reporting"} == stages
    for path in FILES:
        own = path.parent.name
        if path.parent.parent.name != "tasks" or own not in stages - asking:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                parts = name.split(".")
                assert not (parts[0] == "tasks" and len(parts) > 1 and parts[1] in stages - {own}), f"{path} imports {name}"


def test_flyte_is_known_to_workflows_task_files_handles_and_the_task_frame_alone():
    allowed = {"tasks/artifacts/handles.py", "tasks/runtime/flyte.py", "tasks/runtime/placement.py"}
    allowed |= {"infra/packaging.py", "infra/registration.py"}  # what `make deploy` tells Flyte
    for path, name in zip(FILES, NAMES, strict=True):
        if "flytekit" in path.read_text() and not name.startswith("workflows/") and path.name != "task.py":
            assert name in allowed, name


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_modules_say_what_they_are_and_stay_readable(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    assert not text.strip() or ast.get_docstring(tree), "a module opens by saying what it turns into what"
    assert text.count("\n") < (600 if path.name == "schema.py" else 120 if path.name == "task.py" else 400)
    assert path.stem not in BANNED_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 60, node.name
            if not node.name.startswith("_") and node.col_offset == 0:
                assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_no_recipes_name_appears_in_code():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                values = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                assert not {"tiny", "fox1", "moxin7b"} & set(v for v in values if isinstance(v, str)), path


def test_the_code_digest_ignores_comments_and_docstrings_and_sees_everything_else(tmp_path, monkeypatch):
    from tasks.runtime import code

    package = tmp_path / "tasks" / "stage"
    package.mkdir(parents=True)
    (tmp_path / "tasks" / "library.py").write_text("X = 1\n")
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def digest(text: str) -> str:
        (package / "work.py").write_text(text)
        code.code_modules.cache_clear()
        code.code_digest.cache_clear()
        return code.code_digest("tasks.stage")

    plain = digest("from tasks import library\ndef f(x):\n    return x + library.X\n")
    assert digest('"""Docs."""\nfrom tasks import library\ndef f(x):\n    """More."""\n    return x + library.X  # why\n') == plain
    assert digest("from tasks import library\ndef f(x):\n    return x - library.X\n") != plain
    before = digest("from tasks import library\ndef f(x):\n    return x + library.X\n")
    (tmp_path / "tasks" / "library.py").write_text("X = 2\n")
    assert digest("from tasks import library\ndef f(x):\n    return x + library.X\n") != before == plain


def test_a_stages_code_covers_the_libraries_it_uses():
    from tasks.runtime.code import code_modules

    assert {"tasks.engine.loop", "tasks.model.decoder", "tasks.curriculum.batches"} <= set(code_modules("tasks.training"))
    assert not any(name.startswith(("tasks.runtime", "recipes", "tasks.panels")) for name in code_modules("tasks.training"))
