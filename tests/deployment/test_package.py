"""What is registered on a cluster: every task's pods, queue, account, retries, time, cache and image, and RayJobs that KubeRay accepts."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from google.protobuf.json_format import MessageToDict

from infra.platform import charts_of, values_of
from tasks.runtime.code import code_digest
from tasks.runtime.placement import SUBMITTER, fabric, placement_of, placements
from tests.deployment.packaged import CUDA_IMAGE, IMAGE, ROOT, package, rendered_rayjob
from tests.infra.platforms import COMMIT, all_manifests, of_kind, platform

CRDS = [
    ROOT.parent / "shared/data/kuberay/rayjobs-crd.yaml.gz",
    Path(os.environ.get("REYNARD_CHARTS", "charts")) / "kuberay-operator/crds/ray.io_rayjobs.yaml",
]
CRD = next((path for path in CRDS if path.is_file()), None)
RAY = {  # stage: (queue, GPUs of all its pods at most, whether it scales)
    "curation": ("cpu-spot", 0, True), "tokenization": ("cpu-spot", 0, True), "contamination": ("cpu-spot", 0, True),
    "training": ("h100", 64, False), "sft": ("h100", 64, False), "drill": ("h100", 64, False),
    "evaluation": ("h100", 64, True), "publication": ("h100", 64, True),
}  # fmt: skip
NEVER_CACHED = {"preflight", "planning", "publication", "reporting", "drill", "publishing"}  # stages that look at the world outside
LOOKING = {"release.waits_for_approval", "release.present_release", "release.deliver_release"}  # and tasks of others that do


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> dict[str, TaskTemplate]:
    return package("h100x64", tmp_path_factory.mktemp("package"), REYNARD_FABRIC="efa")


def stage_of(name: str) -> str:
    return name.split(".")[0]


def pod_specs(template: TaskTemplate) -> dict[str, dict[str, Any]]:
    """Return the pod specs of a task by its container's name."""
    if template.type != "ray":
        return {"primary": MessageToDict(template.k8s_pod.pod_spec)}
    spec = rendered_rayjob(template)["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return {group["template"]["spec"]["containers"][0]["name"]: group["template"]["spec"] for group in groups}


@pytest.mark.slow
def test_every_stage_is_registered_with_the_resources_and_the_account_of_its_own_stage(packaged):
    assert {stage_of(name) for name in packaged} == {path.parent.name for path in (ROOT / "tasks").glob("*/task.py")}
    for name, template in packaged.items():
        place = placements(8)[stage_of(name)]
        assert template.type == ("ray" if stage_of(name) in RAY else "python-task"), name
        assert template.metadata.timeout.seconds == place.hours * 3600 and template.metadata.retries.retries == 2
        assert template.metadata.interruptible == place.spot and template.metadata.generates_deck.value
        assert template.metadata.discoverable == (stage_of(name) not in NEVER_CACHED and name not in LOOKING), name
        if template.metadata.discoverable:
            assert template.metadata.discovery_version == code_digest(f"tasks.{stage_of(name)}")
        if name in LOOKING:
            assert pod_specs(template)["primary"]["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "16Gi"}
        for spec in pod_specs(template).values():
            (container,) = spec["containers"]
            assert spec["serviceAccountName"] == stage_of(name)
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["runAsNonRoot"]
            assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/dev/shm", "/tmp"}


@pytest.mark.slow
def test_gpus_are_on_workers_alone_and_never_with_who_submits(packaged):
    for name, template in packaged.items():
        assert Resources.GPU not in {resource.name for resource in template.container.resources.requests}, name
        gpus = {kind: spec["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for kind, spec in pod_specs(template).items()}
        assert set(gpus) - {"ray-worker"} and not any(value for kind, value in gpus.items() if kind != "ray-worker")


@pytest.mark.slow
def test_a_ray_job_waits_in_its_queue_as_a_gang_or_scales_and_gives_its_machines_back(packaged):
    for name, template in packaged.items():
        if stage_of(name) not in RAY:
            continue
        queue, gpus, scales = RAY[stage_of(name)]
        job = rendered_rayjob(template)
        spec = job["spec"]["rayClusterSpec"]
        (group,) = spec["workerGroupSpecs"]
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue
        assert job["metadata"]["annotations"] == ({"kueue.x-k8s.io/elastic-job": "true"} if scales else {})
        assert spec["enableInTreeAutoscaling"] == scales and (group["minReplicas"] < group["maxReplicas"]) == scales
        assert group["maxReplicas"] * int(group["rayStartParams"]["num-gpus"]) == gpus
        assert job["spec"]["shutdownAfterJobFinishes"] and job["spec"]["ttlSecondsAfterFinished"] == 60
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert ("vpc.amazonaws.com/efa" in limits) == (limits.get("nvidia.com/gpu") == "8")
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert spec["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] == scales  # Ray's autoscaler asks Kubernetes
        assert not group["template"]["spec"]["automountServiceAccountToken"]


@pytest.mark.slow
def test_kueue_covers_whatever_a_ray_job_asks_for(packaged):
    manifests = all_manifests("production")
    queues = {
        one["metadata"]["name"]: set(one["spec"]["resourceGroups"][0]["coveredResources"]) for one in of_kind(manifests, "ClusterQueue")
    }
    (limits,) = of_kind(manifests, "LimitRange")
    by_default = {name for limit in limits["spec"]["limits"] for name in limit["defaultRequest"]}
    own = platform("production")
    (kueue,) = [chart for chart in charts_of(own) if chart.name == "kueue"]
    configuration = yaml.safe_load(values_of(kueue, own, COMMIT)["managerConfig"]["controllerManagerConfigYaml"])
    ignored = tuple(configuration["resources"]["excludeResourcePrefixes"])
    adapters = set()
    for name, template in packaged.items():
        if stage_of(name) in RAY:
            job = rendered_rayjob(template)
            groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
            pods = [group["template"] for group in groups] + [job["spec"]["submitterPodTemplate"]]
            asked = {key for pod in pods for one in pod["spec"]["containers"] for key in one["resources"]["requests"]}
            assert pods[-1]["spec"]["containers"][0]["resources"]["requests"] == {"cpu": SUBMITTER["cpu"], "memory": SUBMITTER["mem"]}
            adapters |= {key for key in asked if key.startswith(ignored)}
            covered = queues[job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]]
            assert {key for key in asked | by_default if not key.startswith(ignored)} <= covered, name
    assert adapters == {"vpc.amazonaws.com/efa"}, "this profile's machines are joined by them"


@pytest.mark.slow
@pytest.mark.skipif(CRD is None, reason="REYNARD_CHARTS names no folder with KubeRay's chart, whose schema it is (docs/deployment.md)")
def test_every_ray_job_is_valid_for_kuberays_schema_with_nothing_unknown_in_it(packaged):
    from jsonschema import Draft7Validator

    crd = yaml.safe_load(gzip.decompress(CRD.read_bytes()) if CRD.suffix == ".gz" else CRD.read_text())
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    validator = Draft7Validator(strict(version["schema"]["openAPIV3Schema"]))
    jobs = [rendered_rayjob(template) for name, template in packaged.items() if stage_of(name) in RAY]
    assert len(jobs) == len(RAY)
    for job in jobs:
        assert not [f"{error.json_path}: {error.message}" for error in validator.iter_errors(job)]
    broken = json.loads(json.dumps(jobs[0]))
    broken["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["serviceAcount"] = "x"
    assert list(validator.iter_errors(broken))


@pytest.mark.slow
def test_what_trains_or_scores_runs_in_the_image_with_cuda_and_everything_else_in_the_other(packaged):
    for name, template in packaged.items():
        image = CUDA_IMAGE if RAY.get(stage_of(name), ("", 0, False))[1] else IMAGE
        for spec in pod_specs(template).values():
            assert spec["containers"][0]["image"] == image, name


def strict(schema: Any) -> Any:
    """Return a CRD's schema as JSON Schema that allows no unknown fields; integers may be strings where Kubernetes says so."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: strict(value) for key, value in schema.items() if not key.startswith("x-") and key != "format"}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and "additionalProperties" not in made:
        made["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or not made["properties"]
    return made


def test_one_machine_has_no_pods_and_an_unknown_profile_or_fabric_is_said(monkeypatch):
    monkeypatch.setenv("REYNARD_PROFILE", "local")
    assert placement_of("training") is None
    monkeypatch.setenv("REYNARD_PROFILE", "h100x12")
    with pytest.raises(ValueError, match="cluster profile 'h100x12' does not exist: set REYNARD_PROFILE to local, smoke, or h100xN for N"):
        placement_of("training")
    monkeypatch.setenv("REYNARD_FABRIC", "myrinet")
    with pytest.raises(ValueError, match="REYNARD_FABRIC is 'myrinet': leave it empty for Ethernet, or set it to efa or infiniband"):
        fabric()


def test_pods_have_what_their_profiles_workers_ask_ray_for(monkeypatch):
    from tasks.runtime.cluster import find_profile

    for profile in ("h100x8", "h100x64", "h100x512", "smoke"):
        monkeypatch.setenv("REYNARD_PROFILE", profile)
        asked, gang = find_profile(profile), placement_of("training").workers
        assert gang.gpus * gang.most == asked.workers * asked.gpus_per_worker
        assert gang.cpus * gang.most == asked.workers * asked.cpus_per_worker
        data = placement_of("curation").workers
        assert (placement_of("training").queue, placement_of("curation").scales) == ("cpu" if profile == "smoke" else "h100", True)
        assert data.cpus * data.most >= asked.cpu_workers
