"""A stage and a cluster profile to where the stage runs on Kubernetes: its pods, queue, account, retries and time.

On one machine (profile `local`) nothing of this exists and tasks are plain functions. On a cluster, data work and evaluation get a Ray
cluster that grows and shrinks, training gets all of its pods or none (Kueue admits a workload whole), and everything else one pod. The
task itself, which only submits to Ray, never holds a GPU. The profile `smoke` is the same shapes small and without GPUs, so that a smoke
run never waits behind a training run that holds them all.
"""

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recipes.errors import BadInput
from tasks.runtime.cluster import find_profile

if TYPE_CHECKING:
    from flytekit import PodTemplate
    from flytekitplugins.ray import RayJobConfig

CUDA_IMAGE = "{{.image.cuda}}"  # Flyte's placeholder for the image of that name; every other stage runs in the default one, without CUDA
RETRIES = 2  # of a task as a whole; what a retry finds in the store it does not make again
SECONDS_KEPT = 60  # of a finished Ray cluster: a job's logs are collected, and its GPUs go back
SUBMITTER = {"cpu": "500m", "mem": "1Gi"}  # the task's own container, of which Flyte makes the pod that submits the job
IDLE_SECONDS = 120  # of a worker, until the autoscaler takes it away
ELASTIC = "kueue.x-k8s.io/elastic-job"  # else Kueue (0.16 and newer, gate ElasticJobsViaWorkloadSlices) refuses a RayJob that scales
HOME = "/tmp"  # the only place that a read-only container may write to, besides /dev/shm
FABRICS = {  # what joins GPU machines, besides Ethernet: the resource of a machine's adapters, and what NCCL is told
    "": ({}, {}),
    "efa": ({"vpc.amazonaws.com/efa": "32"}, {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1"}),  # AWS p5: 32 adapters
    "infiniband": ({"rdma/ib": "8"}, {"NCCL_IB_DISABLE": "0"}),  # NVIDIA's network operator: one adapter a GPU
}


@dataclass(frozen=True)
class Pods:
    """Pods of one kind. `most` > `least`: Ray's autoscaler decides; equal: a gang."""

    cpus: int
    gigabytes: int
    least: int = 1
    most: int = 1
    gpus: int = 0
    shared_gigabytes: int = 1  # of /dev/shm: Ray's object store, and what NCCL's processes of a machine exchange


@dataclass(frozen=True)
class Placement:
    """Where a stage runs: one pod, or a Ray cluster of a head and workers."""

    stage: str
    queue: str  # Kueue's, and the label reynard.dev/pool of the nodes behind it
    pod: Pods  # the stage's own; for a Ray cluster its head, where the driver runs
    workers: Pods | None = None
    hours: int = 24
    spot: bool = False
    priority: str = "evaluation"

    @property
    def scales(self) -> bool:
        """Tell whether the number of workers may change while the stage runs."""
        return self.workers is not None and self.workers.most > self.workers.least


BESIDE_HEAD = Pods(
    1, 2
)  # a Ray cluster's submitter and the autoscaler that KubeRay puts beside its head (500m, 512Mi), rounded up together
LIGHT = Pods(4, 16)
HEAD = Pods(8, 32, shared_gigabytes=8)
MACHINE = {
    "cpus": 96,
    "gigabytes": 1000,
    "gpus": 8,
    "shared_gigabytes": 256,
}  # H100 x 8, less what the system keeps; Ray sees 12 cores a GPU
DATA = Pods(32, 128, least=1, most=24, shared_gigabytes=32)
SMALL = Pods(1, 6)  # three of them (a head, two workers) fit beside a platform on one machine of 8 cores and 32 GiB


def placements(machines: int) -> dict[str, Placement]:
    """Return the placement of every stage on a cluster with so many machines of eight H100s."""
    gpus = Pods(12, 120, least=0, most=8 * machines, gpus=1, shared_gigabytes=32)
    gang = Pods(**MACHINE, least=machines, most=machines)
    data = {name: Placement(name, "cpu-spot", HEAD, DATA, 96, spot=True) for name in ("curation", "tokenization", "contamination")}
    trained = {
        "training": Placement("training", "h100", HEAD, gang, 24 * 30, priority="training"),
        "sft": Placement("sft", "h100", HEAD, gang, 24 * 7, priority="training"),
        "drill": Placement("drill", "h100", HEAD, gang, 24, priority="smoke"),
    }
    scored = {name: Placement(name, "h100", HEAD, gpus, 48) for name in ("evaluation", "publication")}
    small = {name: Placement(name, "cpu", LIGHT, hours=12) for name in ("preflight", "planning", "reporting", "publishing")}
    proving = {"release": Placement("release", "cpu", Pods(8, 96), hours=12)}  # 8 billion weights in float32, in two processes in turn
    return data | trained | scored | small | proving


def placements_of(profile: str) -> dict[str, Placement]:
    """Return the placement of every stage in a cluster profile; BadInput if there is no such profile."""
    if profile == "smoke":
        return {stage: shrunk(place) for stage, place in placements(1).items()}
    return placements(find_profile(profile).workers // MACHINE["gpus"])


def placement_of(stage: str) -> Placement | None:
    """Return where a stage runs in the profile that REYNARD_PROFILE names; None on one machine. BadInput if there is no such profile."""
    profile = os.environ.get("REYNARD_PROFILE", "local")
    return None if profile == "local" else placements_of(profile)[stage]


def shrunk(place: Placement) -> Placement:
    """Return a placement of the same shape (one pod, a gang, a cluster that scales) on small pods of pool `cpu`."""
    workers = replace(SMALL, least=1 if place.scales else 2, most=2) if place.workers else None
    return replace(place, queue="cpu", pod=SMALL, workers=workers, hours=2, spot=False, priority="smoke")


def task_options(stage: str, light: bool = False) -> dict[str, Any]:
    """Return what Flyte is told of a stage's task besides its function: nothing but retries on one machine. `light`: it only looks."""
    place = placement_of(stage)
    if place is None:
        return {"retries": RETRIES}
    from flytekit import Resources

    options: dict[str, Any] = {
        "retries": RETRIES, "timeout": timedelta(hours=place.hours), "interruptible": place.spot,
        "environment": {"REYNARD_PROFILE": os.environ["REYNARD_PROFILE"], "HOME": HOME},
    }  # fmt: skip
    labels = {"reynard.dev/stage": stage}
    if place.workers is None:
        pod = LIGHT if light and LIGHT.cpus < place.pod.cpus else place.pod
        return options | {"labels": labels, "pod_template": pod_template(place, pod, "primary")}
    labels |= {"kueue.x-k8s.io/queue-name": place.queue, "kueue.x-k8s.io/priority-class": place.priority}
    options |= {"container_image": CUDA_IMAGE} if place.workers.gpus else {}
    elastic = {"annotations": {ELASTIC: "true"}} if place.scales else {}
    return options | elastic | {"labels": labels, "task_config": ray_cluster(place, place.workers), "requests": Resources(**SUBMITTER)}


def ray_cluster(place: Placement, workers: Pods) -> "RayJobConfig":
    """Return the Ray cluster of a stage. Resources are inside the pod templates: beside them the plugin would drop the templates."""
    from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
    from flytekitplugins.ray.task import AutoscalerOptionsConfig

    group = WorkerNodeConfig(
        group_name="workers", replicas=workers.least, min_replicas=workers.least, max_replicas=workers.most,
        ray_start_params={"num-cpus": str(workers.cpus), "num-gpus": str(workers.gpus)},
        pod_template=pod_template(place, workers, "ray-worker"),
    )  # fmt: skip
    return RayJobConfig(
        head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "0"}, pod_template=pod_template(place, place.pod, "ray-head")),
        worker_node_config=[group],
        enable_autoscaling=place.scales,
        autoscaler_options=AutoscalerOptionsConfig(idle_timeout_seconds=IDLE_SECONDS) if place.scales else None,
        shutdown_after_job_finishes=True,
        ttl_seconds_after_finished=SECONDS_KEPT,
    )


def pod_template(place: Placement, pods: Pods, container: str) -> "PodTemplate":
    """Return the template of a stage's pods: what they take, where they may run, as whom, and the folders that they may write to."""
    from flytekit import PodTemplate
    from kubernetes import client

    adapters, environment = FABRICS[fabric()] if pods.gpus == MACHINE["gpus"] else ({}, {})
    amount = {"cpu": str(pods.cpus), "memory": f"{pods.gigabytes}Gi"} | ({"nvidia.com/gpu": str(pods.gpus)} if pods.gpus else {}) | adapters
    volumes = {"shared-memory": ("/dev/shm", client.V1EmptyDirVolumeSource(medium="Memory", size_limit=f"{pods.shared_gigabytes}Gi"))}
    volumes |= {"scratch": (HOME, client.V1EmptyDirVolumeSource())}
    main = client.V1Container(
        name=container,
        resources=client.V1ResourceRequirements(requests=amount, limits=amount),
        env=[client.V1EnvVar(name=name, value=value) for name, value in environment.items()] or None,
        volume_mounts=[client.V1VolumeMount(name=name, mount_path=path) for name, (path, _) in volumes.items()],
        security_context=client.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=client.V1Capabilities(drop=["ALL"], add=["IPC_LOCK"] if adapters else None),  # RDMA pins memory
        ),
    )
    spec = client.V1PodSpec(
        containers=[main],
        service_account_name=place.stage,
        automount_service_account_token=place.scales
        and pods is not place.workers,  # Ray's autoscaler, in the head, asks Kubernetes for pods
        node_selector={"reynard.dev/pool": place.queue if pods is place.workers else "cpu"},
        tolerations=tolerations(client, pods.gpus > 0, place.spot and pods is place.workers),
        volumes=[client.V1Volume(name=name, empty_dir=source) for name, (_, source) in volumes.items()],
        termination_grace_period_seconds=300 if pods.gpus else 60,  # one step and one checkpoint's upload
    )
    return PodTemplate(pod_spec=spec, primary_container_name=container, labels={"reynard.dev/stage": place.stage})


def tolerations(client: Any, gpu: bool, spot: bool) -> list[Any] | None:
    """Return the taints of nodes that pods may run on all the same: those with GPUs, and those that may go at any time."""
    keys = (["nvidia.com/gpu"] if gpu else []) + (["reynard.dev/spot"] if spot else [])
    return [client.V1Toleration(key=key, operator="Exists", effect="NoSchedule") for key in keys] or None


def fabric() -> str:
    """Return what joins the GPU machines, from REYNARD_FABRIC; BadInput if it is not known."""
    name = os.environ.get("REYNARD_FABRIC", "")
    if name not in FABRICS:
        raise BadInput(f"REYNARD_FABRIC is {name!r}: leave it empty for Ethernet, or set it to {' or '.join(filter(None, FABRICS))}")
    return name
