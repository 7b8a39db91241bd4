"""DeepSpeed, loaded without two things that it brings along and nobody here uses: five seconds of every worker's start.

They are MLflow, for its autotuner, and the compiled kernels of Muon, of which it only wants to know that an AdamW is none.
"""

import sys
from unittest.mock import patch

no_mlflow = "mlflow" not in sys.modules
if no_mlflow:
    sys.modules["mlflow"] = None  # type: ignore[assignment]
import deepspeed  # noqa: E402

if no_mlflow:
    del sys.modules["mlflow"]
from deepspeed.runtime import compiler  # noqa: E402

with patch.object(compiler, "compile", lambda *_, **__: lambda function: function):
    from deepspeed.runtime.zero.muon import muon_optimizer  # noqa: F401

__all__ = ["deepspeed"]
