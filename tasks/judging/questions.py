"""MT-Bench's three files to questions, reference answers and judge prompts.

They are FastChat's (github.com/lm-sys/FastChat, Apache-2.0) and are not part of this project: they are read from a folder, or fetched
once from FastChat's own repository at a pinned commit. Either way each file's sha256 is compared with FastChat's and goes into the
results, so that a changed set of questions is never taken for MT-Bench.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipes.errors import BadInput

SOURCE = "https://raw.githubusercontent.com/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data"
FILES = {  # our name: FastChat's, and the sha256 of its bytes
    "question.jsonl": ("mt_bench/question.jsonl", "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"),
    "reference_answer_gpt-4.jsonl": ("mt_bench/reference_answer/gpt-4.jsonl", "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"),
    "judge_prompts.jsonl": ("judge_prompts.jsonl", "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"),
}  # fmt: skip
TEMPERATURES = {  # by category: FastChat's temperature_config
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
OTHER_TEMPERATURE = 0.7  # FastChat's, of a category that is not among these
WITH_REFERENCE = ("math", "reasoning", "coding")  # FastChat's NEED_REF_CATS
PROMPTS = {(False, 1): "single-v1", (True, 1): "single-math-v1", (False, 2): "single-v1-multi-turn", (True, 2): "single-math-v1-multi-turn"}


@dataclass(frozen=True)
class Question:
    """Two turns of a user; `reference` holds an answer to each where the judge is shown one."""

    id: int
    category: str
    turns: list[str]
    reference: list[str] | None

    @property
    def temperature(self) -> float:
        """The temperature at which the category is answered."""
        return TEMPERATURES.get(self.category, OTHER_TEMPERATURE)


@dataclass(frozen=True)
class QuestionSet:
    """The questions, the judge's prompts by name, and what their files are."""

    questions: list[Question]
    prompts: dict[str, dict[str, str]]
    sha256: dict[str, str]  # by file

    @property
    def is_stock(self) -> bool:
        """Tell whether all three files are FastChat's, byte for byte."""
        return self.sha256 == {name: sha256 for name, (_, sha256) in FILES.items()}

    def judge_prompt(self, question: Question, answers: list[str], turn: int) -> tuple[str, list[dict[str, str]]]:
        """Return the name of the prompt that judges a turn (1 or 2), and the messages that the judge is sent."""
        name = PROMPTS[question.reference is not None, turn]
        values = {f"ref_answer_{n}": text for n, text in enumerate(question.reference or [], start=1)}
        if turn == 1:
            values |= {"question": question.turns[0], "answer": answers[0]}
        else:
            values |= {f"question_{n}": text for n, text in enumerate(question.turns, start=1)}
            values |= {f"answer_{n}": text for n, text in enumerate(answers, start=1)}
        prompt = self.prompts[name]
        messages = [
            {"role": "system", "content": prompt["system_prompt"]},
            {"role": "user", "content": prompt["prompt_template"].format(**values)},
        ]
        return name, messages


def load_questions(folder: Path) -> QuestionSet:
    """Read the three files of a folder; BadInput if one is missing or is not what FastChat's are like."""
    for name in FILES:
        if not (folder / name).is_file():
            raise BadInput(f"{folder} has no {name}: MT-Bench needs {', '.join(FILES)} (FastChat's; leave --data out to have them fetched)")
    try:
        references = {row["question_id"]: row["choices"][0]["turns"] for row in _rows(folder / "reference_answer_gpt-4.jsonl")}
        prompts = {row["name"]: row for row in _rows(folder / "judge_prompts.jsonl")}
        questions = [
            Question(
                row["question_id"], row["category"], row["turns"],
                references[row["question_id"]] if row["category"] in WITH_REFERENCE else None,
            )
            for row in _rows(folder / "question.jsonl")
        ]  # fmt: skip
        missing = [name for name in PROMPTS.values() if not {"system_prompt", "prompt_template"} <= prompts.get(name, {}).keys()]
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise BadInput(
            f"{folder} does not hold MT-Bench's files ({type(error).__name__}: {error}): leave --data out to have them fetched"
        ) from None
    if missing or not questions or any(len(question.turns) != 2 for question in questions):
        raise BadInput(f"{folder}: MT-Bench needs questions of two turns and the judge prompts {', '.join(PROMPTS.values())}")
    return QuestionSet(questions, prompts, {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES})


def fetch_questions(folder: Path, fetch: Callable[[str], bytes] | None = None) -> Path:
    """Fetch FastChat's files into a folder, unless they are there, and return it; BadInput if one cannot be had or is another."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (path, sha256) in FILES.items():
        target = folder / name
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
            continue
        data = (fetch or _download)(f"{SOURCE}/{path}")
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise BadInput(
                f"{SOURCE}/{path} has sha256 {found}, FastChat's file has {sha256}: give a folder with MT-Bench's files by --data"
            )
        scratch = target.with_name(f".{name}.{os.getpid()}")
        scratch.write_bytes(data)
        os.replace(scratch, target)
    return folder


def _download(url: str) -> bytes:
    import httpx

    try:
        response = httpx.get(url, timeout=60.0, follow_redirects=False)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise BadInput(f"{url} cannot be fetched ({type(error).__name__}): give a folder with MT-Bench's files by --data") from None
    return response.content


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
