"""Prompts and targets of both reports' benchmarks: equal to the harness's stock ones, by the harness's own hashes.

The table holds what the harness itself computes with its own index of tasks; to compute it once more (a minute or two):

    python -m tests.evaluation.test_prompts
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from tasks.artifacts.manifest import digest_of

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
MIRROR = Path(os.environ.get("REYNARD_MIRROR") or ROOT.parent / "shared" / "data" / "eval" / "hub_mirror")
LIMIT = 20  # items of each part: of MMLU, of each of its 57 subjects

# lm_eval 0.4.13, the first 20 items of each set; MMLU: the digest of its 57 subjects' hashes
STOCK = {
    "arc_challenge/0": "c0b4e4e91fe91cebea6824b96bcfa52eae0a53df51d2c64c569f911d6e4e68f5",
    "arc_challenge/25": "43e0233465b0e2b8236b75233f192e9f146a0ff7b08c63cc868f9243301b9dfe",
    "arc_easy/0": "2c58156284f4df50b729c6b24edcd88a4b3a32b1ab8efaf44ad4d7add27e955d",
    "gsm8k/5": "93ebc65e73eda7508a0775674ecfdbb10b048e0291c8256e8cb51bca333be2a0",
    "hellaswag/0": "2503f464a27962d5f163157d46b4b12e81c770d9fae592990ccdf7cc0676a837",
    "hellaswag/10": "ac20b1aea817f01046d7929f8dbb37df41a7fc7da4b7d480900d0acebc9f7f1d",
    "mmlu/5": "63d34f75ca3f7a51f655c4fe88622073a3b7d89dcfef133ddd19e0ba3a55b560",
    "piqa/0": "8cfd589da3014f5d8bd0caa0b3b1544bd82c63abb2188dbfc3012badaac6b906",
    "truthfulqa_mc2/0": "b2c8ac1d7304672889f83dc7cebf5099b89e08b75ee0e37e75b53a8545215912",
    "winogrande/0": "091164ff759c30081c5b63bef65ed15adc6b94207377e295618ef83e8c4728e2",
    "winogrande/5": "f38d55ef60c147a689be927a277e364e4df178705db9c936643cdcb8ec5bd27c",
}

STOCK_PROGRAM = f"""
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import hash_string
manager, found = TaskManager(), {{}}
for task, shots in json.loads(sys.argv[1]):
    stock = simple_evaluate(model="dummy", tasks=[task], num_fewshot=shots, limit={LIMIT}, task_manager=manager, bootstrap_iters=0)
    # as its EvaluationTracker.save_results_aggregated computes `task_hashes`
    found[f"{{task}}/{{shots}}"] = {{
        name: hash_string("".join(one["doc_hash"] + one["prompt_hash"] + one["target_hash"] for one in samples))
        for name, samples in stock["samples"].items()
    }}
print("FOUND", json.dumps(found))
"""

OUR_PROGRAM = f"""
import json, sys
from lm_eval.api.registry import get_model
from tasks.evaluation.harness import Process, measure
from tasks.evaluation.samples import rows_of, task_hashes
process, found = Process({{"items": "."}}, lambda *_: None), {{}}
for task, shots in json.loads(sys.argv[1]):
    few_shot, results = measure(get_model("dummy")(), process.task(task), shots, {LIMIT})
    rows = [row for name, samples in results["samples"].items() for row in rows_of(name, samples, few_shot[name])]
    assert {{len(row["few_shot"]) for row in rows}} == {{shots}}, task
    found[f"{{task}}/{{shots}}"] = task_hashes(rows)
print("FOUND", json.dumps(found))
"""


def asked() -> list[tuple[str, int]]:
    """List the benchmarks of both recipes with their shots."""
    sections = [yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())["evaluation"] for name in ("fox1", "moxin7b")]
    return sorted({(one["task"], one["shots"]) for section in sections for suite in section["suites"] for one in suite["benchmarks"]})


def hashes(program: str, home: Path) -> dict[str, str]:
    """Run a program in the mirror's folder and return a hash for each benchmark."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1",
    }  # fmt: skip
    command = [sys.executable, "-P", "-c", program, json.dumps(asked())]
    ended = subprocess.run(command, cwd=MIRROR, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(next(line for line in ended.stdout.splitlines() if line.startswith("FOUND ")).removeprefix("FOUND "))
    assert len(found["mmlu/5"]) == 57
    return {name: own[name.split("/")[0]] if len(own) == 1 else digest_of(own) for name, own in found.items()}


@pytest.mark.skipif(not MIRROR.is_dir(), reason="needs the full sets in a mirror folder")
def test_prompts_and_targets_of_all_eight_tasks_are_the_stock_ones_by_the_harness_s_own_hashes(tmp_path):
    found = hashes(OUR_PROGRAM, tmp_path)
    assert {name.split("/")[0] for name in found} == {
        "arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "mmlu", "truthfulqa_mc2", "gsm8k",
    }  # fmt: skip
    assert found == STOCK


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(hashes(STOCK_PROGRAM, Path(folder)), indent=4))
