"""A Flyte server on loopback, from flyteidl's own service definitions: keeps what it gets and answers as flyteadmin 1.16.8 does.

Rules are flyteadmin's, by file: pkg/errors/errors.go (an entity again: ALREADY_EXISTS if it is the same, else INVALID_ARGUMENT), pkg/manager/impl/
validation/task_validator.go (resources under the platform's limits), workflow_manager.go (a workflow compiles of registered tasks),
validation/launch_plan_validator.go and execution_validator.go (inputs), launch_plan_manager.go (one active version of a name),
pkg/dataproxy (an upload's place derives from its MD5).
"""

import base64
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from flyteidl.admin import execution_pb2, launch_plan_pb2, project_pb2, signal_pb2, task_pb2, version_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, interface_pb2, literals_pb2
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, Identifier
from flyteidl.core.tasks_pb2 import Resources
from flyteidl.service import admin_pb2_grpc, dataproxy_pb2, dataproxy_pb2_grpc, signal_pb2_grpc
from google.protobuf.json_format import MessageToDict
from kubernetes.utils.quantity import parse_quantity

from infra.settings import filled, read_platform

INFRA = Path(__file__).resolve().parents[2] / "infra"
CORE = filled((INFRA / "flyte/core.yaml").read_text(), read_platform(INFRA / "platforms/production.yaml"), "flyte/core.yaml")
LIMITS = CORE["configmap"]["task_resource_defaults"]["task_resources"]["limits"]


def key_of(identifier) -> tuple[str, str, str, str]:
    return identifier.project, identifier.domain, identifier.name, identifier.version


def nodes_of(nodes):
    """Give every node of a workflow, those of branches too."""
    for node in nodes:
        yield node
        if node.HasField("branch_node"):
            branch = node.branch_node.if_else
            yield from nodes_of([branch.case.then_node, *(other.then_node for other in branch.other), branch.else_node])


def excess(template) -> str:
    """Return what a task's own containers ask for above the platform's limits, empty if nothing."""
    asked = [(Resources.ResourceName.Name(one.name).lower(), one.value) for one in template.container.resources.requests]
    for container in MessageToDict(template.k8s_pod.pod_spec).get("containers", []):
        asked += container.get("resources", {}).get("requests", {}).items()
    over = [f"{name} {value}" for name, value in asked if name in LIMITS and parse_quantity(value) > parse_quantity(LIMITS[name])]
    return ", ".join(over)


class FlyteServer(admin_pb2_grpc.AdminServiceServicer, dataproxy_pb2_grpc.DataProxyServiceServicer, signal_pb2_grpc.SignalServiceServicer):
    """What is registered, by kind and (project, domain, name, version), what runs, and how often something new was made."""

    def __init__(self, verdict: int = WorkflowExecution.SUCCEEDED) -> None:
        self.verdict = verdict
        self.kept: dict[str, dict] = {"task": {}, "workflow": {}, "launch plan": {}, "execution": {}, "upload": {}, "signal": {}}
        self.active: dict[tuple[str, str, str], str] = {}
        self.made: Counter[str] = Counter()
        self.away = 0  # executions are asked for in vain so often, once one is there
        self.looks: Counter[str] = Counter()
        self.ends: dict[str, int] = {}
        self.lock = threading.Lock()

    def __enter__(self) -> "FlyteServer":
        uploads = self.kept["upload"]

        class Put(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Put)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 20 << 20)])
        for add in (
            admin_pb2_grpc.add_AdminServiceServicer_to_server,
            dataproxy_pb2_grpc.add_DataProxyServiceServicer_to_server,
            signal_pb2_grpc.add_SignalServiceServicer_to_server,
        ):
            add(self, self.server)
        self.endpoint = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.stop(None)
        self.http.shutdown()
        self.http.server_close()

    def names(self, kind: str) -> set[str]:
        return {key[2] for key in self.kept[kind]}

    def keep(self, kind: str, identifier, content, context) -> None:
        """Keep an entity; the same again and another under its name are refused, each as flyteadmin does."""
        with self.lock:
            there = self.kept[kind].get(key_of(identifier))
            if there == content:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{kind} with identical structure already exists")
            if there is not None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{identifier.name} {kind} with different structure already exists.")
            self.kept[kind][key_of(identifier)] = content
            self.made[kind] += 1

    def find(self, kind: str, identifier, context):
        if key_of(identifier) not in self.kept[kind]:
            context.abort(grpc.StatusCode.NOT_FOUND, f"missing entity of type {kind} with identifier {identifier}")
        return self.kept[kind][key_of(identifier)]

    # --- registration ---

    def CreateTask(self, request, context):
        request.spec.template.id.CopyFrom(request.id)
        if over := excess(request.spec.template):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"Requested {over} is greater than current limit set in the platform configuration"
            )
        self.keep("task", request.id, request.spec.template, context)
        return task_pb2.TaskCreateResponse()

    def GetTask(self, request, context):
        compiled = compiler_pb2.CompiledTask(template=self.find("task", request.id, context))
        return task_pb2.Task(id=request.id, closure=task_pb2.TaskClosure(compiled_task=compiled))

    def CreateWorkflow(self, request, context):
        request.spec.template.id.CopyFrom(request.id)
        parts = [request.spec.template, *request.spec.sub_workflows]
        tasks = {key_of(node.task_node.reference_id): node for part in parts for node in nodes_of(part.nodes) if node.HasField("task_node")}
        for key in tasks:
            if key not in self.kept["task"]:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"failed to compile workflow for [{request.id}]: no task {key}")
        closure = compiler_pb2.CompiledWorkflowClosure(
            primary=compiler_pb2.CompiledWorkflow(template=request.spec.template),
            sub_workflows=[compiler_pb2.CompiledWorkflow(template=part) for part in request.spec.sub_workflows],
            tasks=[compiler_pb2.CompiledTask(template=self.kept["task"][key]) for key in sorted(tasks)],
        )
        self.keep("workflow", request.id, closure, context)
        return workflow_pb2.WorkflowCreateResponse()

    def GetWorkflow(self, request, context):
        compiled = self.find("workflow", request.id, context)
        return workflow_pb2.Workflow(id=request.id, closure=workflow_pb2.WorkflowClosure(compiled_workflow=compiled))

    def CreateLaunchPlan(self, request, context):
        inputs = self.find("workflow", request.spec.workflow_id, context).primary.template.interface.inputs.variables
        given = {**request.spec.fixed_inputs.literals, **request.spec.default_inputs.parameters}
        for name in given:
            if name not in inputs:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected input {name}")
        for name in set(inputs) - set(given):
            request.spec.default_inputs.parameters[name].CopyFrom(interface_pb2.Parameter(var=inputs[name], required=True))
        asked = [name for name, one in request.spec.default_inputs.parameters.items() if one.required]
        if asked and request.spec.entity_metadata.HasField("schedule"):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Cannot create a launch plan with a schedule if there is an unbound required input. {asked}",
            )
        self.keep("launch plan", request.id, request.spec, context)
        return launch_plan_pb2.LaunchPlanCreateResponse()

    def GetLaunchPlan(self, request, context):
        spec, (*name, version) = self.find("launch plan", request.id, context), key_of(request.id)
        state = launch_plan_pb2.ACTIVE if self.active.get(tuple(name)) == version else launch_plan_pb2.INACTIVE
        closure = launch_plan_pb2.LaunchPlanClosure(state=state, expected_inputs=spec.default_inputs)
        return launch_plan_pb2.LaunchPlan(id=request.id, spec=spec, closure=closure)

    def GetActiveLaunchPlan(self, request, context):
        name = request.id.project, request.id.domain, request.id.name
        if name not in self.active:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no active launch plan {name}")
        spec = self.kept["launch plan"][(*name, self.active[name])]
        closure = launch_plan_pb2.LaunchPlanClosure(state=launch_plan_pb2.ACTIVE, expected_inputs=spec.default_inputs)
        identifier = Identifier(resource_type=LAUNCH_PLAN, project=name[0], domain=name[1], name=name[2], version=self.active[name])
        return launch_plan_pb2.LaunchPlan(id=identifier, spec=spec, closure=closure)

    def UpdateLaunchPlan(self, request, context):
        self.find("launch plan", request.id, context)
        *name, version = key_of(request.id)
        self.active[tuple(name)] = version
        self.made["activation"] += 1
        return launch_plan_pb2.LaunchPlanUpdateResponse()

    # --- executions ---

    def CreateExecution(self, request, context):
        plan = self.find("launch plan", request.spec.launch_plan, context)
        fixed, expected = plan.fixed_inputs.literals, plan.default_inputs.parameters
        for name in request.inputs.literals:
            if name in fixed or name not in expected:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid input {name}")
        inputs = {name: one.default for name, one in expected.items() if not one.required} | dict(request.inputs.literals) | dict(fixed)
        if missing := set(expected) - set(inputs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"expected_inputs {missing} missing")
        key = request.project, request.domain, request.name or f"a{len(self.kept['execution'])}"
        with self.lock:
            if key in self.kept["execution"]:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"execution {key} already exists")
            self.kept["execution"][key] = (request.spec, literals_pb2.LiteralMap(literals=inputs))
            self.ends[key[2]] = self.verdict
            self.made["execution"] += 1
        return execution_pb2.ExecutionCreateResponse(id=dict(zip(("project", "domain", "name"), key, strict=True)))

    def GetExecution(self, request, context):
        key = request.id.project, request.id.domain, request.id.name
        if key not in self.kept["execution"]:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no execution {key}")
        if self.away:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server was told to be away")
        self.looks[key[2]] += 1
        phase = (WorkflowExecution.QUEUED, WorkflowExecution.RUNNING, self.ends[key[2]])[min(self.looks[key[2]], 3) - 1]
        closure = execution_pb2.ExecutionClosure(phase=phase)
        if phase == WorkflowExecution.FAILED:
            closure.error.message = "the server was told to let it fail"
        return execution_pb2.Execution(id=request.id, spec=self.kept["execution"][key][0], closure=closure)

    # --- uploads, a gate's answer, versions ---

    def CreateUploadLocation(self, request, context):
        place = f"/{request.project}/{request.domain}/{base64.b32encode(request.content_md5).decode().rstrip('=')}/{request.filename}"
        return dataproxy_pb2.CreateUploadLocationResponse(
            signed_url=f"http://127.0.0.1:{self.http.server_address[1]}{place}", native_url=f"s3://bucket{place}"
        )

    def SetSignal(self, request, context):
        """Take a person's answer to a gate, if the workflow of the execution has it."""
        execution = request.id.execution_id
        spec, _ = self.kept["execution"][execution.project, execution.domain, execution.name]
        closure = self.kept["workflow"][key_of(self.kept["launch plan"][key_of(spec.launch_plan)].workflow_id)]
        parts = [closure.primary.template, *(part.template for part in closure.sub_workflows)]
        gates = {node.gate_node.approve.signal_id for part in parts for node in nodes_of(part.nodes) if node.HasField("gate_node")}
        if request.id.signal_id not in gates:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no signal {request.id.signal_id}: the workflow waits for {gates}")
        self.kept["signal"][execution.name, request.id.signal_id] = request.value.scalar.primitive.boolean
        return signal_pb2.SignalSetResponse()

    def ListProjects(self, request, context):
        return project_pb2.Projects(projects=[project_pb2.Project(id="reynard")])

    def GetVersion(self, request, context):
        return version_pb2.GetVersionResponse()
