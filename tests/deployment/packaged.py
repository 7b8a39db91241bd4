"""All workflows, packaged as `make deploy` registers them, to the protobufs of their tasks, and a Ray task to the RayJob it becomes."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from google.protobuf.json_format import MessageToDict

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example.com/reynard/cpu:0123abc"
CUDA_IMAGE = "registry.example.com/reynard/cuda:0123abc"
JSON = dict[str, Any]


def package(profile: str, folder: Path, **variables: str) -> dict[str, TaskTemplate]:
    """Run `pyflyte package` for a cluster profile; return the task templates by stage and function."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pyflyte")), "--pkgs", "workflows", "package", "--image", IMAGE, "--image", f"cuda={CUDA_IMAGE}",
         "--output", str(folder / "all.tgz")],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"REYNARD_PROFILE": profile, "PYTHONPATH": str(ROOT)} | variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    templates = {}
    with tarfile.open(folder / "all.tgz") as archive:
        for member in archive.getmembers():
            if member.name.endswith("_1.pb"):  # a task; workflows end in _2, launch plans in _3
                data = archive.extractfile(member)
                assert data is not None
                template = TaskSpec.FromString(data.read()).template
                templates[template.id.name.removeprefix("tasks.").replace(".task.", ".")] = template
    return templates


def submitter(template: TaskTemplate) -> JSON:
    """Return the container that submits a Ray job: the task's own (flyteplugins/go/tasks/plugins/k8s/ray/ray.go, buildSubmitterPodTemplate)."""
    own = template.container
    requests = {{Resources.CPU: "cpu", Resources.MEMORY: "memory"}[one.name]: one.value for one in own.resources.requests}
    environment = [{"name": pair.key, "value": pair.value} for pair in own.env]
    return {"name": "primary", "image": own.image, "args": list(own.args), "env": environment, "resources": {"requests": requests}}


def rendered_rayjob(template: TaskTemplate) -> JSON:
    """Return the RayJob that Flyte's Ray plugin makes of a task: pod templates with its own container's image, arguments and environment.

    What flyteplugins/go/tasks/plugins/k8s/ray does, as far as the resource's shape goes: containers that are not named `ray-head` or
    `ray-worker` are dropped, and the task's container fills what a template leaves open.
    """
    custom = MessageToDict(template.custom)
    cluster = custom["rayCluster"]
    own = template.container

    def filled(group: JSON, kept: str) -> JSON:
        pod = group["k8sPod"]
        spec = dict(pod["podSpec"])
        spec["containers"] = [
            container | {"image": container.get("image") or own.image, "env": [*environment, *container.get("env", [])]}
            for container in spec["containers"]
            if container["name"] == kept
        ]
        return {"metadata": pod.get("metadata", {}), "spec": spec}

    environment = [{"name": pair.key, "value": pair.value} for pair in own.env]
    groups = [
        {
            "groupName": group["groupName"], "replicas": int(group.get("replicas", 0)), "minReplicas": int(group.get("minReplicas", 0)),
            "maxReplicas": int(group["maxReplicas"]), "rayStartParams": group["rayStartParams"], "template": filled(group, "ray-worker"),
        }
        for group in cluster["workerGroupSpec"]
    ]  # fmt: skip
    head = cluster["headGroupSpec"]
    spec: JSON = {
        "headGroupSpec": {"rayStartParams": head["rayStartParams"], "template": filled(head, "ray-head"), "serviceType": "ClusterIP"},
        "workerGroupSpecs": groups,
        "enableInTreeAutoscaling": cluster.get("enableAutoscaling", False),
    }
    if options := cluster.get("autoscalerOptions"):
        spec["autoscalerOptions"] = {"idleTimeoutSeconds": int(options["idleTimeoutSeconds"])}
    told = template.metadata.metadata
    return {
        "apiVersion": "ray.io/v1", "kind": "RayJob",
        "metadata": {"name": "f1-n0-0", "labels": dict(told.labels), "annotations": dict(told.annotations)},
        "spec": {
            "entrypoint": " ".join(own.args), "rayClusterSpec": spec, "shutdownAfterJobFinishes": custom["shutdownAfterJobFinishes"],
            "ttlSecondsAfterFinished": int(custom["ttlSecondsAfterFinished"]),
            "submitterPodTemplate": {"spec": {"containers": [submitter(template)], "restartPolicy": "Never", "serviceAccountName": "default"}},
        },
    }  # fmt: skip
