"""Tasks run as their pods run them: Flyte's entry point in a process of its own, with inputs and outputs as protobufs on S3.

What plays a cluster here: an S3 server, an MLflow server, and one Ray node, which pods of Ray tasks reach by RAY_ADDRESS as Ray's own job
submission tells them. A pod's disk goes with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from flyteidl.core.errors_pb2 import ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap as LiteralMapProto
from flytekit import FlyteContextManager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import Literal, LiteralCollection, LiteralMap

from infra.local.services import BUCKET, free_port, start_mlflow, start_s3, stop

EXECUTION = {"PROJECT": "reynard", "DOMAIN": "development", "ID": "a1b2c3"}
CORES = 6  # that the Ray node says it has: a head's none, two workers' two each, and some for data work


@dataclass(frozen=True)
class Ran:
    """What a pod left on S3: its outputs by name, and its decks as one page."""

    outputs: dict[str, Literal]
    deck: str

    @property
    def o0(self) -> Literal:
        """The only output of a task that has one."""
        return self.outputs["o0"]


@dataclass(frozen=True)
class Cluster:
    """The services that pods reach by their environment, and a folder for their disks."""

    folder: Path
    variables: dict[str, str]

    def run(self, task: PythonTask, node: str, environment: dict[str, str] | None = None, **inputs: Any) -> Ran:
        """Run a task in a pod; inputs are values, or outputs of other pods. AssertionError with the pod's words if it failed."""
        place = f"flyte/propeller/{'-'.join(EXECUTION.values())}/{node}/data"
        s3 = self.client()
        s3.put_object(Bucket=BUCKET, Key=f"{place}/inputs.pb", Body=literals(task, inputs).to_flyte_idl().SerializeToString())
        filled = {
            "{{.input}}": f"s3://{BUCKET}/{place}/inputs.pb", "{{.outputPrefix}}": f"s3://{BUCKET}/{place}/0",
            "{{.rawOutputDataPrefix}}": f"s3://{BUCKET}/flyte/raw/{node}", "{{.checkpointOutputPrefix}}": f"s3://{BUCKET}/flyte/raw/{node}/_checkpoints",
            "{{.prevCheckpointPrefix}}": '""',
        }  # fmt: skip
        settings = SerializationSettings(ImageConfig(default_image=Image("default", "registry.example.com/reynard", "0123abc")))
        command = [filled.get(word, word) for word in task.get_default_command(settings)]
        assert not [word for word in command if "{{" in word]
        said = self._pod(command, environment or {})
        keys = {one["Key"].rsplit("/", 1)[1] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{place}/0/").get("Contents", [])}

        def read(name: str) -> bytes:
            return s3.get_object(Bucket=BUCKET, Key=f"{place}/0/{name}")["Body"].read()

        error = ErrorDocument.FromString(read("error.pb")).error.message if "error.pb" in keys else ""
        assert not error and "outputs.pb" in keys, f"{node}: {error}\n{said[-3000:]}"
        outputs = LiteralMap.from_flyte_idl(LiteralMapProto.FromString(read("outputs.pb"))).literals
        return Ran(dict(outputs), read("deck.html").decode())

    def client(self) -> Any:
        """Return a client of the S3 server."""
        keys = {"aws_access_key_id": self.variables["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": self.variables["AWS_SECRET_ACCESS_KEY"]}
        return boto3.client("s3", endpoint_url=self.variables["AWS_ENDPOINT_URL"], region_name="us-east-1", **keys)

    def _pod(self, command: list[str], environment: dict[str, str]) -> str:
        """Run a command on an empty disk, which is gone afterwards; return what it printed. The entry point says 0 whatever happened."""
        disk = self.folder / "pod"  # the same path for all, as in containers of one image
        (disk / "app").mkdir(parents=True)
        (disk / "app" / "README.md").write_text("Ray's plugin sends the working folder to all workers: here it holds nothing else.\n")
        own = {"HOME": str(disk), "TMPDIR": str(disk), "REYNARD_RUNS": str(disk / "runs")}
        flyte = {f"FLYTE_INTERNAL_EXECUTION_{name}": value for name, value in EXECUTION.items()}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]], cwd=disk / "app", capture_output=True, text=True, timeout=900,
            env=clean() | self.variables | own | flyte | environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        shutil.rmtree(disk)
        return done.stdout + done.stderr


def clean() -> dict[str, str]:
    """Return this process's environment without what leads to other services."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_", "REYNARD_", "RAY_", "FLYTE_", "HF_"))}


def literals(task: PythonTask, inputs: dict[str, Any]) -> LiteralMap:
    """Return a task's inputs as Flyte hands them over."""
    context, hints = FlyteContextManager.current_context(), task.python_interface.inputs
    return LiteralMap({name: literal(context, value, hints[name]) for name, value in inputs.items()})


def literal(context: Any, value: Any, hint: Any) -> Literal:
    """Return one input as Flyte hands it over: another task's output as it is, a list of them as a list."""
    if isinstance(value, Literal):
        return value
    if isinstance(value, list):
        return Literal(collection=LiteralCollection([literal(context, one, None) for one in value]))
    return TypeEngine.to_literal(context, value, hint, TypeEngine.to_literal_type(hint))


def value(made: Literal, kind: Any) -> Any:
    """Return an output as a value."""
    return TypeEngine.to_python_value(FlyteContextManager.current_context(), made, kind)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start S3, MLflow and a Ray node; stop them."""
    running, variables = [], {}
    try:
        for start in (start_s3, start_mlflow):
            process, own = start(folder / start.__name__)
            running.append(process)
            variables |= own
        variables |= {"REYNARD_PROFILE": "smoke"}
        with ray_node(clean() | variables) as address:
            yield Cluster(folder, variables | {"RAY_ADDRESS": address})
    finally:
        for process in running:
            stop(process)


@contextmanager
def ray_node(environment: dict[str, str]) -> Iterator[str]:
    """Start a Ray node as KubeRay does, in a folder of its own so that nobody else on this machine joins it; yield its address."""
    port, client, agent, dashboard = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as home:  # short, as a socket's path must be
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", f"--num-cpus={CORES}",
            "--node-ip-address=127.0.0.1", f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}", f"--dashboard-port={dashboard}",
            "--min-worker-port=0", "--max-worker-port=0", "--include-dashboard=false", f"--temp-dir={home}", "--disable-usage-stats",
        ]  # fmt: skip
        own = {"HOME": home, "RAY_raylet_start_wait_time_s": "180"}  # a busy machine is slow to start one
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment | own, start_new_session=True
        )
        try:
            assert process.stdout is not None
            said: list[str] = []
            while "Ray runtime started" not in (said or [""])[-1]:
                said.append(process.stdout.readline())
                assert said[-1], "".join(said)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
