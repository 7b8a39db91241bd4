"""A built image as a cluster runs it: without root, rights and network, on a read-only disk. `make test-images` builds it and runs these."""

import json
import os
import re
import subprocess

import pytest

from infra.images import working_engine
from tests.deployment.test_containers import locked

IMAGE = os.environ.get("REYNARD_IMAGE", "")
LOCK = IMAGE.rpartition("/")[2].partition(":")[0]
ENGINE = working_engine() if IMAGE else ""  # docker or podman: buildah builds, and cannot run on a read-only disk
SHUT = ["--read-only", "--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
ROOM = ["--tmpfs", "/tmp:rw,exec,mode=1777,size=8g", "--shm-size", "2g"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IMAGE, reason="REYNARD_IMAGE names no image: `make test-images` builds one")]

# What KubeRay 1.7 runs in every Ray pod whose rayVersion is unknown, as in Flyte's: ray-operator/controllers/ray/common/pod.go,
# initLivenessAndReadinessProbe, with utils.BaseWgetHealthCommand; the head's looks at both, a worker's at the first.
RAYLET = "wget --tries 1 -T 1 -q -O- http://localhost:52365/api/local_raylet_healthz | grep success"
GCS = "wget --tries 1 -T 10 -q -O- http://localhost:8265/api/gcs_healthz | grep success"
LARGEST = {"cpu": 3.2e9, "cuda": 7.8e9}  # bytes unpacked: what docs/deployment.md states, and room for a new version of a package


def inside(*command: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Run a command in the image and return what came of it."""
    return subprocess.run([ENGINE, "run", "--rm", *SHUT, *ROOM, IMAGE, *command], capture_output=True, text=True, timeout=timeout)


def answer(*command: str) -> str:
    """Run a command in the image that must succeed and return what it printed."""
    done = inside(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def described() -> dict:
    done = subprocess.run([ENGINE, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[0]


def test_it_says_what_it_is_holds_no_secret_and_is_as_small_as_documented():
    told = described()
    assert told["Config"]["User"] == "1000:1000"
    variables = dict(pair.split("=", 1) for pair in told["Config"]["Env"])
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", variables["REYNARD_COMMIT"])
    assert told["Config"]["Labels"]["org.opencontainers.image.revision"] == variables["REYNARD_COMMIT"]
    assert not [name for name in variables if re.search("TOKEN|SECRET|PASSWORD|_KEY", name)]
    assert told["Size"] < LARGEST[LOCK], f"{told['Size']:,} bytes"


def test_its_code_is_there_and_nothing_else_of_the_repository():
    assert answer("ls", "-A", "/app").split() == [
        "LICENSE", "Makefile", "README.md", "constraints.txt", "containers", "infra", "pyproject.toml", "recipes", "reynard", "tasks", "workflows",
    ]  # fmt: skip
    hidden = ["-name", ".git", "-o", "-name", ".env", "-o", "-name", ".netrc", "-o", "-name", "id_rsa*"]
    strange = answer("find", "/app", "/opt/reynard", "/tmp", *hidden)
    assert strange == "" and inside("python", "-m", "pip", "--version").returncode, "nothing can be installed in it"


def test_it_runs_as_nobody_special_and_finds_nothing_to_write_to_but_tmp():
    assert answer("id", "--user").strip() == "1000"
    found = answer("sh", "-c", "find / -xdev -writable ! -type l 2>/dev/null || true").split()
    assert set(found) <= {"/tmp", "/var/tmp"}, "podman mounts memory on the second as well"
    assert "Read-only file system" in inside("touch", "/app/a").stderr
    assert answer("sh", "-c", "touch /tmp/a /dev/shm/a && echo written") == "written\n"


def test_its_packages_are_those_of_the_lock_and_no_others():
    listed = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    found = {re.sub("[-_.]+", "-", name).lower(): version for name, version in json.loads(answer("python", "-c", listed)).items()}
    asked = {name: version for lock in (LOCK, "tiny") for name, (version, _) in locked(lock).items()}
    assert found.pop("reynard")
    assert found == asked


def test_every_workflow_and_every_heavy_package_loads():
    assert answer("python", "-c", "import torch; print(torch.version.cuda)").startswith({"cpu": "None", "cuda": "13."}[LOCK])
    heavy = "torch, ray, deepspeed, transformers, datasets, mlflow, lm_eval, peft, pyarrow, sklearn, scipy, pandas, numba, fasttext"
    answer("python", "-c", f"import workflows.pipeline, workflows.publish, infra.monitoring, {heavy}")
    assert "raw documents" in answer("reynard", "run", "--help")


def test_the_probe_of_kuberay_succeeds_beside_a_running_head_and_fails_before():
    waits = f"for second in $(seq 120); do {RAYLET} && {GCS} && break; sleep 1; done"
    head = "ulimit -n $(ulimit -H -n); ray start --head --dashboard-host=0.0.0.0 --num-cpus=1 --disable-usage-stats >/tmp/log"
    done = inside("bash", "-c", f"{RAYLET} && echo too early; {head} && {waits}; {RAYLET} && {GCS} && echo healthy; ray stop >/tmp/log")
    lines = done.stdout.split("\n")
    assert lines[0] == "success" and "healthy" in lines and "too early" not in lines, done.stdout + done.stderr


@pytest.mark.timeout(7200)
def test_it_makes_a_released_model_of_raw_documents():
    done = inside("bash", "-c", "reynard run recipes/tiny.yaml && ls /tmp/runs/tiny/release", timeout=7200)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert done.stdout.split()[-2:] == ["base", "chat"]
