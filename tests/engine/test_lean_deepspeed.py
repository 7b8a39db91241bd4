"""What a worker loads before it can train."""

import subprocess
import sys


def test_a_worker_loads_neither_mlflow_nor_torchs_compiler_and_muon_stays_usable_for_deepspeeds_own_checks():
    program = (
        "import sys, tasks.engine.loop\n"
        "from tasks.engine.lean_deepspeed import deepspeed\n"
        "from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam\n"
        "print(sorted(m for m in ('mlflow', 'torch._inductor.compile_fx', 'torch._dynamo') if m in sys.modules), MuonWithAuxAdam.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] MuonWithAuxAdam", done.stderr[-2000:]
