"""Workflows, recipes and a cluster profile to what Flyte is told: tasks, workflows and launch plans as protobufs, under one version.

What a task takes is decided when its module is imported (`tasks/runtime/placement.py`), so each profile is packaged in a process of its own.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from infra.commit import ROOT
from infra.images import image_name
from infra.settings import Platform
from recipes.load import load_recipe
from tasks.runtime.cluster import find_profile

if TYPE_CHECKING:
    from recipes.schema import Recipe

PIPELINE = "workflows.pipeline.pipeline"
SMOKE = "smoke"  # the launch plan, the profile, and the suffix of its version
KINDS = ("task", "workflow", "launch plan")  # in the order in which Flyte takes them
SMOKE_RECIPE = ROOT / "recipes/tiny.yaml"
NIGHTLY = "17 2 * * *"  # UTC; assumption: few people wait for anything then, and few other jobs start at this minute


@dataclass(frozen=True)
class Package:
    """What is registered together: one profile under one version, its fabric, and the images its tasks run in. Not `whole`: the pipeline alone."""

    project: str
    domain: str
    version: str
    profile: str
    fabric: str
    cpu_image: str
    cuda_image: str
    whole: bool = True


@dataclass(frozen=True)
class Entity:
    """A task, workflow or launch plan: its identifier and its spec, flyteidl's messages."""

    kind: str
    identifier: Any
    spec: Any

    @property
    def name(self) -> str:
        """Return the name it has in Flyte."""
        return self.identifier.name


def packages(platform: Platform, version: str) -> list[Package]:
    """Return what a deployment registers, the platform's profile under the version last: what is registered last, the console offers first.

    Before it comes the pipeline under `smoke`, unless that is the platform's profile.
    """
    cpu, cuda = (image_name(platform.registry, lock, version) for lock in ("cpu", "cuda"))
    of_platform = Package(platform.project, platform.domain, version, platform.profile, platform.fabric, cpu, cuda)
    beside = replace(of_platform, version=f"{version}-{SMOKE}", profile=SMOKE, whole=False)
    return [of_platform] if platform.profile == SMOKE else [beside, of_platform]


def deals(recipe: "Recipe", profile: str) -> bool:
    """Tell whether a profile's workers can share every batch of a recipe equally: preflight refuses the run if they cannot."""
    return not any(stage.batch_units % find_profile(profile).workers for stage in recipe.pretraining.stages)


def recipes_of(package: Package, all_packages: list[Package]) -> list["Recipe"]:
    """Return the recipes that get their launch plan in a package: in the platform's if its workers can share their batches, else in `smoke`'s."""
    of_platform = all_packages[-1]
    found = [load_recipe(path) for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    return [one for one in found if deals(one, package.profile) and (package == of_platform or not deals(one, of_platform.profile))]


def packaged(all_packages: list[Package]) -> list[list[Entity]]:
    """Return the entities of each package, in an order in which Flyte takes them."""
    with ProcessPoolExecutor(len(all_packages), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_entities, package, recipes_of(package, all_packages)) for package in all_packages]
        return [[_parsed(*parts) for parts in job.result()] for job in jobs]


def _entities(package: Package, recipes: list["Recipe"]) -> list[tuple[str, bytes, bytes]]:
    """Import the workflows under a profile; return kind, identifier and spec of all that they declare, and of the launch plans."""
    os.environ |= {"REYNARD_PROFILE": package.profile, "REYNARD_FABRIC": package.fabric}
    from flytekit.configuration import ImageConfig, SerializationSettings
    from flytekit.core.context_manager import FlyteEntities
    from flytekit.models.admin.workflow import WorkflowSpec
    from flytekit.models.launch_plan import LaunchPlan
    from flytekit.models.task import TaskSpec
    from flytekit.tools.module_loader import just_load_modules
    from flytekit.tools.repo import serialize_get_control_plane_entities
    from flytekit.tools.translator import get_serializable

    just_load_modules(["workflows" if package.whole else PIPELINE.rpartition(".")[0]])
    (pipeline,) = [one for one in FlyteEntities.entities if getattr(one, "name", "") == PIPELINE]
    plans = make_launch_plans(pipeline, recipes, with_smoke=package.profile == SMOKE)
    images = ImageConfig.from_images(package.cpu_image, {"cuda": package.cuda_image})
    settings = SerializationSettings(images, package.project, package.domain, package.version, source_root=str(ROOT))
    if package.whole:
        entities = serialize_get_control_plane_entities(settings, str(ROOT))
    else:  # each launch plan with what it needs
        needed: OrderedDict[Any, Any] = OrderedDict()
        for plan in plans:
            get_serializable(needed, settings, plan)
        entities = [one for one in needed.values() if isinstance(one, LaunchPlan | TaskSpec | WorkflowSpec)]
    return sorted((_plain(entity) for entity in entities), key=lambda parts: KINDS.index(parts[0]))


def _plain(entity: Any) -> tuple[str, bytes, bytes]:
    """Return kind, identifier and spec of one of flytekit's models."""
    from flytekit.models.launch_plan import LaunchPlan
    from flytekit.models.task import TaskSpec

    message = entity.to_flyte_idl()
    if isinstance(entity, LaunchPlan):
        kind, identifier, spec = "launch plan", message.id, message.spec
    else:
        kind, identifier, spec = "task" if isinstance(entity, TaskSpec) else "workflow", message.template.id, message
    if kind == "workflow":
        for template in (spec.template, *spec.sub_workflows):
            order_edges(template.nodes)
    return kind, identifier.SerializeToString(), spec.SerializeToString()


def order_edges(nodes: Iterable[Any]) -> None:
    """Put the edges of a workflow's nodes into order: flytekit takes them from a set, so that the same workflow, packaged again, would be another."""
    for node in nodes:
        node.upstream_node_ids.sort()
        if node.HasField("branch_node"):
            branch = node.branch_node.if_else
            others = [other.then_node for other in branch.other] + ([branch.else_node] if branch.HasField("else_node") else [])
            order_edges([branch.case.then_node, *others])


def _parsed(kind: str, identifier: bytes, spec: bytes) -> Entity:
    from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
    from flyteidl.admin.task_pb2 import TaskSpec
    from flyteidl.admin.workflow_pb2 import WorkflowSpec
    from flyteidl.core.identifier_pb2 import Identifier

    message: type[Message] = {"task": TaskSpec, "workflow": WorkflowSpec, "launch plan": LaunchPlanSpec}[kind]
    return Entity(kind, Identifier.FromString(identifier), message.FromString(spec))


def make_launch_plans(pipeline: Any, recipes: list["Recipe"], with_smoke: bool) -> list[Any]:
    """Declare `pipeline-NAME` for each recipe, with the whole recipe as fixed input, and `smoke`, every night; return them.

    The smoke run overwrites Flyte's cache, so that every task gets its pods; each then finds in the store what is finished, and makes what
    the commit changed. Its jobs' priority is `smoke` for any profile: labels of an execution go before a task's own
    (flytepropeller/pkg/controller/nodes/task/k8s/plugin_manager.go, addObjectMetadata).
    """
    from flytekit import CronSchedule, LaunchPlan
    from flytekit.models.common import Labels

    made = [LaunchPlan.create(f"pipeline-{recipe.name}", pipeline, fixed_inputs={"recipe": recipe}) for recipe in recipes]
    if with_smoke:
        fixed = {"recipe": load_recipe(SMOKE_RECIPE), "name": SMOKE}
        labels = Labels({"kueue.x-k8s.io/priority-class": SMOKE})
        nightly = CronSchedule(schedule=NIGHTLY)
        made.append(LaunchPlan.create(SMOKE, pipeline, fixed_inputs=fixed, schedule=nightly, labels=labels, overwrite_cache=True))
    return made


def images_of(entities: list[Entity]) -> dict[str, list[str]]:
    """Return the images that tasks run in, each with the stages that do."""
    found: dict[str, set[str]] = {}
    for entity in entities:
        for image in container_images(entity):
            found.setdefault(image, set()).add(entity.name.split(".")[1])
    return {image: sorted(stages) for image, stages in sorted(found.items())}


def container_images(entity: Entity) -> list[str]:
    """Return the images of a task's own containers."""
    if entity.kind != "task":
        return []
    template = entity.spec.template
    if template.HasField("container"):
        return [template.container.image]
    return [container["image"] for container in template.k8s_pod.pod_spec["containers"]]


def faults(package: Package, entities: list[Entity]) -> list[str]:
    """Return what Flyte would refuse, or run in the wrong image, a line each."""
    found = []
    for entity in entities:
        where = f"{entity.kind} {entity.name}"
        if wrong := set(container_images(entity)) - {package.cpu_image, package.cuda_image}:
            found.append(f"{where} runs in {', '.join(sorted(wrong))}, which this deployment does not build")
        if (entity.identifier.project, entity.identifier.domain, entity.identifier.version) != (
            package.project, package.domain, package.version,
        ):  # fmt: skip
            found.append(f"{where} is not of {package.project}, {package.domain}, {package.version}")
        if entity.kind == "launch plan" and entity.spec.entity_metadata.HasField("schedule"):
            asked = [name for name, one in entity.spec.default_inputs.parameters.items() if one.required]
            found += [f"{where} has a schedule, and nobody to give its input {name}" for name in asked]
    return found
