"""Packaged entities to a Flyte server that knows them: registered once under their version, tried by a smoke execution, then activated.

flyteadmin keeps a version as it was first registered: the same content again is answered with ALREADY_EXISTS, other content with
INVALID_ARGUMENT "... with different structure already exists" (flyteadmin/pkg/errors/errors.go, 1.16.8).
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from infra.packaging import SMOKE, Entity
from infra.settings import Platform
from recipes.errors import BadInput

if TYPE_CHECKING:
    from flytekit.clients.friendly import SynchronousFlyteClient

DIFFERS = "different structure already exists"
SMOKE_HOURS = 4  # assumption: the pipeline of the smallest recipe, images pulled, takes an hour
MOST_SAID = 400  # characters of a server's answer


def connect(platform: Platform) -> "SynchronousFlyteClient":
    """Return a client of a platform's Flyte; BadInput if the credentials are not whole.

    Who asks is in Flyte's own configuration ($FLYTECTL_CONFIG, or FLYTE_CREDENTIALS_*), where is not: that is the platform's host, or
    FLYTE_PLATFORM_URL (a forwarded port).
    """
    from flytekit.clients.friendly import SynchronousFlyteClient
    from flytekit.configuration import PlatformConfig

    told = PlatformConfig.auto()
    own_certificate = platform.name == "development" and platform.certificates == "self-signed"
    asked = replace(told, endpoint=endpoint(platform), insecure_skip_verify=told.insecure_skip_verify or own_certificate)
    try:
        return SynchronousFlyteClient(asked)
    except ValueError as error:
        raise BadInput(f"nobody can sign in to Flyte with what ~/.flyte/config.yaml and FLYTE_CREDENTIALS_* say: {error}") from None


@contextmanager
def reaching(platform: Platform) -> Iterator[None]:
    """Turn what goes wrong between here and Flyte into BadInput: where it was asked, what came back, and where both are said."""
    import grpc
    from flytekit.clients.auth.exceptions import AccessTokenNotFoundError, AuthenticationError
    from flytekit.exceptions.base import FlyteException

    try:
        yield
    except (FlyteException, AuthenticationError, AccessTokenNotFoundError, grpc.RpcError, OSError) as error:
        raise BadInput(
            f"Flyte at {endpoint(platform)} could not be asked: {answer(error)}. Where it is: the platform's host, or FLYTE_PLATFORM_URL; who asks: "
            "~/.flyte/config.yaml, or FLYTE_CREDENTIALS_*"
        ) from None


def endpoint(platform: Platform) -> str:
    """Return where a platform's Flyte answers."""
    return os.environ.get("FLYTE_PLATFORM_URL") or f"flyte.{platform.host}"


def check_project(client: "SynchronousFlyteClient", platform: Platform) -> None:
    """Ask for the platform's project: BadInput if Flyte does not know it."""
    from flyteidl.admin.project_pb2 import ProjectListRequest
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw

    known = [project.id for project in Raw.list_projects(client, ProjectListRequest(limit=1000)).projects]
    if platform.project not in known:
        raise BadInput(
            f"Flyte at {endpoint(platform)} has no project {platform.project!r} (it has {', '.join(sorted(known)) or 'none'}): install the platform first"
        )


def register(client: "SynchronousFlyteClient", entities: list[Entity]) -> Counter[str]:
    """Register entities in their order; count what was `new` and what was `there`. BadInput if a version is there with other content."""
    from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw
    from flytekit.exceptions.user import FlyteEntityAlreadyExistsException, FlyteInvalidInputException

    calls = {
        "task": (Raw.create_task, task_pb2.TaskCreateRequest),
        "workflow": (Raw.create_workflow, workflow_pb2.WorkflowCreateRequest),
        "launch plan": (Raw.create_launch_plan, launch_plan_pb2.LaunchPlanCreateRequest),
    }
    outcomes: Counter[str] = Counter()
    for entity in entities:
        create, request = calls[entity.kind]
        try:
            create(client, request(id=entity.identifier, spec=entity.spec))
            outcomes["new"] += 1
        except FlyteEntityAlreadyExistsException:
            outcomes["there"] += 1
        except FlyteInvalidInputException as error:
            raise BadInput(refusal(entity, answer(error))) from None
    return outcomes


def answer(error: Exception) -> str:
    """Return what the server said, on one line; the client's own words hold the whole request instead."""
    said = getattr(error.__cause__, "details", lambda: str(error))() or ""
    flat = " ".join(said.split())
    return flat if len(flat) <= MOST_SAID else f"{flat[:MOST_SAID]}..."


def refusal(entity: Entity, said: str) -> str:
    """Return the sentence for an entity that Flyte did not take."""
    version = entity.identifier.version
    if DIFFERS in said:
        return (
            f"version {version} is registered already, and {entity.kind} {entity.name} is another there: a version never changes, so commit "
            f"what differs (the platform's file too) and deploy that commit. Nothing was activated. Flyte says: {said}"
        )
    return f"Flyte refuses {entity.kind} {entity.name} of version {version}: {said}"


def activate(client: "SynchronousFlyteClient", entities: list[Entity]) -> list[str]:
    """Make the launch plans the active version of their names, which sets their schedules; return the names of those that were not."""
    from flyteidl.admin.common_pb2 import ObjectGetRequest
    from flyteidl.admin.launch_plan_pb2 import ACTIVE, LaunchPlanUpdateRequest
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw

    changed = []
    for entity in (one for one in entities if one.kind == "launch plan"):
        if Raw.get_launch_plan(client, ObjectGetRequest(id=entity.identifier)).closure.state != ACTIVE:
            Raw.update_launch_plan(client, LaunchPlanUpdateRequest(id=entity.identifier, state=ACTIVE))
            changed.append(entity.name)
    return changed


def run_smoke(client: "SynchronousFlyteClient", launch_plan: Entity, poll_seconds: float) -> str:
    """Run the smoke launch plan unless this version's has succeeded; return the execution's name. BadInput if it ends otherwise.

    Its name is made of the version, so that another deployment of it finds the execution, waits for it, or tries again after a failure.
    """
    from flyteidl.core.execution_pb2 import WorkflowExecution

    for attempt in count(1):
        name = f"{SMOKE}-{launch_plan.identifier.version[:12]}-{attempt}"
        phase = phase_of(client, launch_plan, name)
        if phase in (WorkflowExecution.FAILED, WorkflowExecution.ABORTED, WorkflowExecution.TIMED_OUT):
            continue
        if phase == WorkflowExecution.SUCCEEDED:
            print(f"✓ smoke execution {name} has succeeded before")
        else:
            if phase is None:
                start(client, launch_plan, name)
            wait(client, launch_plan, name, poll_seconds)
        return name
    raise AssertionError("unreachable")


def start(client: "SynchronousFlyteClient", launch_plan: Entity, name: str) -> None:
    """Create an execution of a launch plan; its inputs are those that the plan fixes, and defaults."""
    from flyteidl.admin.execution_pb2 import ExecutionCreateRequest, ExecutionMetadata, ExecutionSpec
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw

    own = launch_plan.identifier
    spec = ExecutionSpec(launch_plan=own, metadata=ExecutionMetadata(mode=ExecutionMetadata.MANUAL), overwrite_cache=True)
    Raw.create_execution(client, ExecutionCreateRequest(project=own.project, domain=own.domain, name=name, spec=spec))
    print(f"→ smoke execution {name} of {own.name}@{own.version}", flush=True)


def launch(client: "SynchronousFlyteClient", project: str, domain: str, name: str) -> str:
    """Start the active version of a launch plan; return the execution's name. BadInput if none is active."""
    from flyteidl.admin.common_pb2 import NamedEntityIdentifier
    from flyteidl.admin.execution_pb2 import ExecutionCreateRequest, ExecutionMetadata, ExecutionSpec
    from flyteidl.admin.launch_plan_pb2 import ActiveLaunchPlanRequest
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw
    from flytekit.exceptions.user import FlyteEntityNotExistException

    try:
        plan = Raw.get_active_launch_plan(
            client, ActiveLaunchPlanRequest(id=NamedEntityIdentifier(project=project, domain=domain, name=name))
        )
    except FlyteEntityNotExistException:
        raise BadInput(
            f"launch plan {name!r} has no active version in {project}-{domain}: `make deploy` activates pipeline-NAME for each recipe"
        ) from None
    spec = ExecutionSpec(launch_plan=plan.id, metadata=ExecutionMetadata(mode=ExecutionMetadata.MANUAL))
    return Raw.create_execution(client, ExecutionCreateRequest(project=project, domain=domain, spec=spec)).id.name


def phase_of(client: "SynchronousFlyteClient", launch_plan: Entity, name: str) -> Any:
    """Return the phase of an execution, None if there is none of that name."""
    from flytekit.exceptions.user import FlyteEntityNotExistException

    try:
        return execution_of(client, launch_plan, name).closure.phase
    except FlyteEntityNotExistException:
        return None


def execution_of(client: "SynchronousFlyteClient", launch_plan: Entity, name: str) -> Any:
    """Return an execution as the server has it."""
    from flyteidl.admin.execution_pb2 import WorkflowExecutionGetRequest
    from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier
    from flytekit.clients.raw import RawSynchronousFlyteClient as Raw

    own = launch_plan.identifier
    identifier = WorkflowExecutionIdentifier(project=own.project, domain=own.domain, name=name)
    return Raw.get_execution(client, WorkflowExecutionGetRequest(id=identifier))


def wait(client: "SynchronousFlyteClient", launch_plan: Entity, name: str, poll_seconds: float) -> None:
    """Wait for the end of an execution and say each change; BadInput if it is no success."""
    from flyteidl.core.execution_pb2 import WorkflowExecution
    from flytekit.exceptions.system import FlyteSystemUnavailableException

    began, told = time.monotonic(), None
    while time.monotonic() - began < SMOKE_HOURS * 3600:
        try:
            closure = execution_of(client, launch_plan, name).closure
        except FlyteSystemUnavailableException as error:
            print(f"  Flyte does not answer, and is asked again: {answer(error)}", flush=True)
            time.sleep(poll_seconds)
            continue
        if closure.phase != told:
            told = closure.phase
            print(f"  {name}: {WorkflowExecution.Phase.Name(told).lower()}", flush=True)
        if told == WorkflowExecution.SUCCEEDED:
            return
        if told in (WorkflowExecution.FAILED, WorkflowExecution.ABORTED, WorkflowExecution.TIMED_OUT):
            why = " ".join(closure.error.message.split())[:MOST_SAID]
            raise BadInput(f"smoke execution {name} {WorkflowExecution.Phase.Name(told).lower()}, and nothing was activated: {why}")
        time.sleep(poll_seconds)
    raise BadInput(f"smoke execution {name} has not ended after {SMOKE_HOURS} hours; it goes on, and the same call waits for it again")
