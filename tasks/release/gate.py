"""Facts of an exported folder to a verdict: checks, each with a reason; a release that fails one is refused."""

import json
import subprocess
import sys
from pathlib import Path

from tasks.artifacts.manifest import JSON

LOGIT_TOLERANCE = 1e-4  # absolute, float32
CHECKER = Path(__file__).with_name("verify_export.py")


def clean_process_facts(folder: Path, probe: Path) -> JSON:
    """Load the folder in a process that knows `transformers` but not this project; RuntimeError with its last words if it cannot."""
    done = subprocess.run([sys.executable, "-I", str(CHECKER), str(folder), str(probe)], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"the release folder does not load with transformers alone: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def judge(facts: JSON, parameters: int, is_chat: bool, files: list[str], scored: bool | None) -> list[JSON]:
    """Return the checks as {name, passed, detail}; `scored` is None where no scores are asked for."""

    def check(name: str, passed: bool, detail: str) -> JSON:
        return {"name": name, "passed": bool(passed), "detail": detail}

    difference = facts["logit_difference"]
    agreed = all(len({number for number in ids if number is not None}) == 1 and None not in ids[:2] for ids in facts["ids"].values())
    lost = facts["missing_weights"] + facts["unexpected_weights"]
    checks = [
        check(
            "logits equal the trainer's",
            difference <= LOGIT_TOLERANCE,
            f"largest difference {difference:.2e}, tolerance {LOGIT_TOLERANCE:.0e}",
        ),
        check("all weights are used", not lost, "none missing, none unexpected" if not lost else ", ".join(lost[:5])),
        check(
            "parameter count as declared",
            facts["parameters"] == parameters,
            f"{facts['parameters']:,} loaded, {parameters:,} in the recipe's model",
        ),
        check(
            "one embedding row a token",
            facts["tokenizer_size"] == facts["embedding_rows"],
            f"{facts['tokenizer_size']:,} tokens, {facts['embedding_rows']:,} rows",
        ),
        check(
            "special tokens agree",
            agreed,
            "; ".join(f"{role}: tokenizer {a}, config {b}, generation {c}" for role, (a, b, c) in facts["ids"].items()),
        ),
        check("chat template where it belongs", facts["has_chat_template"] == is_chat, "a chat model has one, a base model has none"),
        check("generates", facts["generated_tokens"] >= 1, f"{facts['generated_tokens']} tokens by greedy decoding"),
        check(
            "safetensors only",
            any(f.endswith(".safetensors") for f in files) and not any(f.endswith((".bin", ".pt", ".pth", ".pkl")) for f in files),
            "no pickled weights",
        ),
    ]
    if scored is not None:
        checks.append(check("evaluated", scored, "scores exist for these very weights" if scored else "no scores for these weights"))
    return checks
