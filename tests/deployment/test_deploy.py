"""`make deploy` against a Flyte server on loopback: what is registered, what a second time and another content do, what runs in the end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
import yaml
from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW, Identifier
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from flyteidl.core.workflow_pb2 import Node, TaskNode, WorkflowTemplate
from google.protobuf.json_format import MessageToJson

from infra.packaging import Entity, deals, packages, recipes_of
from infra.registration import activate, check_project, connect, reaching, register, run_smoke
from infra.settings import Platform, read_platform
from recipes.errors import BadInput
from recipes.load import load_recipe
from tests.deployment.flyte_server import FlyteServer
from tests.deployment.packaged import ROOT

DOCKER = """#!/bin/sh
# stands for docker and kind, since an engine needs rights that tests have not: remembers its calls, and the images that were pushed
echo "$@" >> "$DOCKER_LOG"
case "$1 $2" in
  "manifest inspect") grep -q "^push $3$" "$DOCKER_LOG" || { echo "no such manifest: $3" >&2; exit 1; } ;;
  *) exit 0 ;;
esac
"""


PYFLYTE = ("-m", "flytekit.clis.sdk_in_container.pyflyte")


class Checkout:
    """A repository of its own with this tree in it, and an engine that only remembers: where `make deploy` is called."""

    def __init__(self, folder: Path) -> None:
        self.root, self.log = folder / "project", folder / "docker.log"
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, files.stdout.split("\0")):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.root / name)
        self.git("init", "--quiet")
        self.commit()
        (folder / "bin").mkdir()
        for tool in ("docker", "kind"):
            (folder / "bin" / tool).write_text(DOCKER)
            (folder / "bin" / tool).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "DOCKER_LOG": str(self.log), "PYTHONPATH": str(self.root), "HOME": str(folder),
            "TORCH_INDEX": "https://wheels.example.com/cpu", "FLYTE_PLATFORM_INSECURE": "true",
        }  # fmt: skip

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        return subprocess.run(["git", *identity, *arguments], cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "as it is")
        return self.git("rev-parse", "HEAD")

    def call(self, server: FlyteServer, *command: str, **variables: str) -> subprocess.CompletedProcess:
        environment = self.environment | {"FLYTE_PLATFORM_URL": server.endpoint} | variables
        return subprocess.run([sys.executable, *command], cwd=self.root, capture_output=True, text=True, env=environment)

    def deploy(self, server: FlyteServer, platform: str, *options: str) -> subprocess.CompletedProcess:
        asked = (f"infra/platforms/{platform}.yaml", "--skip", "tests", "--poll-seconds", "0.1", *options)
        return self.call(server, "-m", "infra.deploy", *asked, PYTHONHASHSEED=str(len(server.made)))  # sets in another order each time


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("deploy"))


def registered(server: FlyteServer, version: str) -> dict[str, set[str]]:
    """Return what is registered under a version, by kind."""
    return {kind: {key[2] for key in server.kept[kind] if key[3] == version} for kind in ("task", "workflow", "launch plan")}


def fixed_recipe(server: FlyteServer, name: str) -> dict:
    """Return the recipe that a launch plan fixes, as its tasks will read it."""
    (spec,) = [spec for key, spec in server.kept["launch plan"].items() if key[2] == name]
    return msgpack.unpackb(spec.fixed_inputs.literals["recipe"].scalar.binary.value)


@pytest.mark.slow
def test_a_deployment_registers_all_runs_the_smoke_and_a_second_changes_nothing(checkout: Checkout):
    commit = checkout.git("rev-parse", "HEAD")
    with FlyteServer() as server:
        done = checkout.deploy(server, "production")
        assert done.returncode == 0, done.stdout + done.stderr
        held, beside = registered(server, commit), registered(server, f"{commit}-smoke")
        files = {f"workflows.{path.stem}.{path.stem}" for path in (ROOT / "workflows").glob("[a-z]*.py")}
        assert {name.split(".")[1] for name in held["task"]} == {path.parent.name for path in (ROOT / "tasks").glob("*/task.py")}
        assert held["workflow"] == files | {"workflows.release.deliver_approved"}
        assert held["launch plan"] == held["workflow"] | {"pipeline-fox1", "pipeline-moxin7b"}
        assert beside["task"] < held["task"] and beside["launch plan"] == {"pipeline-tiny", "smoke"}
        assert beside["workflow"] == {"workflows.pipeline.pipeline", "workflows.release.deliver_approved"}
        for name in ("fox1", "moxin7b", "tiny"):
            assert fixed_recipe(server, f"pipeline-{name}") == load_recipe(ROOT / f"recipes/{name}.yaml").model_dump(mode="json")
        assert set(server.active) == {key[:3] for key in server.kept["launch plan"]}
        active = {name: server.active["reynard", "production", name] for name in ("smoke", "pipeline-fox1", "workflows.pipeline.pipeline")}
        assert active == {"smoke": f"{commit}-smoke", "pipeline-fox1": commit, "workflows.pipeline.pipeline": commit}
        smoke = server.kept["launch plan"]["reynard", "production", "smoke", f"{commit}-smoke"]
        assert smoke.entity_metadata.schedule.cron_schedule.schedule == "17 2 * * *" and smoke.overwrite_cache
        assert smoke.labels.values == {"kueue.x-k8s.io/priority-class": "smoke"}
        (((_, _, execution), (spec, inputs)),) = server.kept["execution"].items()
        assert execution == f"smoke-{commit[:12]}-1" and spec.launch_plan.version == f"{commit}-smoke"
        assert (
            inputs.literals["name"].scalar.primitive.string_value == "smoke"
            and inputs.literals["store"].scalar.primitive.string_value == ""
        )
        assert inputs.literals["recipe"] == smoke.fixed_inputs.literals["recipe"] and fixed_recipe(server, "smoke")["name"] == "tiny"
        largest = max(len(MessageToJson(one, indent=None)) for one in server.kept["workflow"].values())
        assert largest < 1_200_000, "an execution is one object of Kubernetes, whose store takes 1.5 MiB"
        calls = checkout.log.read_text().splitlines()
        assert [line.split()[0] for line in calls] == ["info", "manifest", "manifest", "build", "push", "build", "push"]
        assert f"--build-arg LOCK=cuda --build-arg REVISION={commit} --tag registry.example.com/reynard/cuda:{commit} ." in calls[5]

        before, again = server.made.copy(), checkout.deploy(server, "production")
        assert again.returncode == 0, again.stdout + again.stderr
        assert server.made == before and f"{commit} was deployed already: nothing changed" in again.stdout
        assert [line.split()[0] for line in checkout.log.read_text().splitlines()[7:]] == ["info", "manifest", "manifest"]

        begun = checkout.call(server, "-m", "infra.launch", "infra/platforms/production.yaml", "pipeline-fox1")
        assert begun.returncode == 0, begun.stdout + begun.stderr
        (_, _, name), (spec, inputs) = list(server.kept["execution"].items())[-1]
        assert begun.stdout.strip().endswith(f"/console/projects/reynard/domains/production/executions/{name}")
        assert (spec.launch_plan.name, spec.launch_plan.version) == ("pipeline-fox1", commit) and not spec.overwrite_cache
        assert msgpack.unpackb(inputs.literals["recipe"].scalar.binary.value)["name"] == "fox1"
        approve = "import sys, flytekit.remote as r, flytekit.configuration as c; r.FlyteRemote(c.Config.auto()).approve(*sys.argv[1:])"
        asked = checkout.call(server, "-c", approve, "approve-release", name, "reynard", "production")
        assert asked.returncode == 0 and server.kept["signal"] == {(name, "approve-release"): True}, asked.stderr


@pytest.mark.slow
def test_a_dry_run_shows_all_and_touches_nothing_and_a_tree_that_is_no_commit_is_refused(checkout: Checkout):
    checkout.log.unlink(missing_ok=True)
    (checkout.root / "notes.txt").write_text("not committed")
    with FlyteServer() as server:
        done = checkout.deploy(server, "development", "--dry-run")
        assert done.returncode == 0, done.stdout + done.stderr
        commit = checkout.git("rev-parse", "HEAD")
        for line in (
            "! a deployment would be refused: 1 files are not as committed (notes.txt)",
            f"activate smoke@{commit}, at 17 2 * * * (UTC)",
            f"kind load docker-image localhost/reynard/cpu:{commit} --name reynard",
            "entities packaged and valid; nothing was touched",
        ):
            assert line in done.stdout
        assert "cuda" not in done.stdout  # no stage of this profile has a GPU
        refused = checkout.deploy(server, "development")
        assert (
            refused.returncode == 1
            and "1 files are not as committed (notes.txt): commit them, since the version is the commit" in refused.stderr
        )
        assert not server.made and checkout.log.read_text() == "info\n", "it only asked whether the engine works"
    (checkout.root / "notes.txt").unlink()


def platform(name: str) -> Platform:
    return read_platform(ROOT / f"infra/platforms/{name}.yaml")


def small_entities(retries: int = 2) -> list[Entity]:
    """Return a task, a workflow of it and the smoke launch plan of that, version `abc`, as flyteidl's messages."""
    task, workflow, plan = (
        Identifier(resource_type=kind, project="reynard", domain="development", name=name, version="abc")
        for kind, name in ((TASK, "tasks.sft.task.finetune"), (WORKFLOW, "workflows.sft.sft"), (LAUNCH_PLAN, "smoke"))
    )
    template = TaskTemplate(id=task, type="python-task")
    template.container.image, template.metadata.retries.retries = "r/cpu:abc", retries
    nodes = [Node(id="n0", task_node=TaskNode(reference_id=task))]
    return [
        Entity("task", task, TaskSpec(template=template)),
        Entity("workflow", workflow, WorkflowSpec(template=WorkflowTemplate(id=workflow, nodes=nodes))),
        Entity("launch plan", plan, LaunchPlanSpec(workflow_id=workflow)),
    ]


@pytest.fixture
def client_of(monkeypatch, tmp_path):
    def connected(server: FlyteServer):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("FLYTE_PLATFORM_URL", server.endpoint)
        monkeypatch.setenv("FLYTE_PLATFORM_INSECURE", "true")
        return connect(platform("development"))

    return connected


def test_other_content_under_the_same_version_is_refused_with_the_way_out(client_of):
    with FlyteServer() as server:
        client = client_of(server)
        assert register(client, small_entities()) == {"new": 3}
        assert register(client, small_entities()) == {"there": 3}
        with pytest.raises(
            BadInput, match=r"version abc is registered already, and task tasks.sft.task.finetune is another there: .* commit what"
        ):
            register(client, small_entities(retries=7))
        big = small_entities()
        big[0].identifier.version = "abd"
        big[0].spec.template.container.resources.requests.add(name=Resources.MEMORY, value="3Ti")
        with pytest.raises(BadInput, match=r"Flyte refuses task tasks.sft.task.finetune of version abd: Requested memory 3Ti is greater"):
            register(client, big)
        assert server.made == {"task": 1, "workflow": 1, "launch plan": 1}
        assert activate(client, small_entities()) == ["smoke"] and activate(client, small_entities()) == []


def test_a_smoke_run_that_failed_is_tried_again_and_one_that_succeeded_is_not(client_of, capsys):
    plan = small_entities()[-1]
    with FlyteServer(verdict=WorkflowExecution.FAILED) as server:
        client = client_of(server)
        register(client, small_entities())
        with pytest.raises(
            BadInput, match="smoke execution smoke-abc-1 failed, and nothing was activated: the server was told to let it fail"
        ):
            run_smoke(client, plan, poll_seconds=0.01)
        server.verdict = WorkflowExecution.SUCCEEDED
        assert run_smoke(client, plan, poll_seconds=0.01) == "smoke-abc-2"
        assert run_smoke(client, plan, poll_seconds=0.01) == "smoke-abc-2" and server.made["execution"] == 2
    assert "smoke execution smoke-abc-2 has succeeded before" in capsys.readouterr().out


def test_a_flyte_that_is_not_there_or_knows_no_project_is_told_in_a_sentence(client_of, monkeypatch):
    with FlyteServer() as server:
        client = client_of(server)
        with pytest.raises(BadInput, match=r"has no project 'other' \(it has reynard\): install the platform first"):
            check_project(client, platform("development").model_copy(update={"namespace": "other-development"}))
    monkeypatch.setenv("FLYTE_PLATFORM_URL", "localhost:1")
    with (
        pytest.raises(BadInput, match=r"Flyte at localhost:1 could not be asked: .*refused.* Where it is: "),
        reaching(platform("development")),
    ):
        check_project(connect(platform("development")), platform("development"))


def test_a_flyte_that_is_away_for_a_moment_does_not_end_the_wait_for_a_smoke_run(client_of, capsys):
    with FlyteServer() as server:
        client = client_of(server)
        register(client, small_entities())
        server.away = 12  # more than the client tries again by itself
        assert run_smoke(client, small_entities()[-1], poll_seconds=0.01) == "smoke-abc-1"
    assert capsys.readouterr().out.count("Flyte does not answer, and is asked again") >= 1


@pytest.mark.slow
def test_a_workflow_runs_remotely_from_its_file_without_a_deployment(checkout: Checkout):
    command = ["run", "--remote", "--project", "reynard", "--domain", "development", "--image", "r.example.com/cpu:1"]
    with FlyteServer() as server:
        done = checkout.call(server, *PYFLYTE, *command, "workflows/plan.py", "plan", "--recipe", "recipes/tiny.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        ((spec, inputs),) = server.kept["execution"].values()
        assert spec.launch_plan.name == "workflows.plan.plan" and inputs.literals["mfu"].scalar.primitive.float_value == 0.4
        assert len(server.kept["upload"]) == 1 and server.names("task") == {"tasks.planning.task.plan_run"}


def test_a_recipe_gets_its_launch_plan_where_workers_share_its_batches_equally():
    tiny, fox1 = (load_recipe(ROOT / f"recipes/{name}.yaml") for name in ("tiny", "fox1"))
    assert deals(tiny, "smoke") and not deals(tiny, "h100x8")  # batches of 1024 / 128 = 8, 2048 / 512 = 4 and 4 units
    assert deals(fox1, "h100x64")  # 1024, 512 and 512 units
    beside, of_platform = packages(platform("production"), "abc")
    assert (beside.version, beside.profile) == ("abc-smoke", "smoke")
    names = [sorted(recipe.name for recipe in recipes_of(one, [beside, of_platform])) for one in (of_platform, beside)]
    assert names == [["fox1", "moxin7b"], ["tiny"]]
    assert [one.version for one in packages(platform("development"), "abc")] == ["abc"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": "h100x12"}, "cluster profile 'h100x12' does not exist"),
        ({"pools": [{"name": "cpu", "cpu": 8, "memory": "24Gi"}]}, "pools has no 'cpu-spot', where curation runs under profile h100x64"),
        ({"profile": "local"}, "profile is local"),
        ({"registry": "registry.example.com"}, "registry"),
        ({"fabric": "efa"}, "fabric is efa, which pins memory, and pod_security baseline forbids that"),
    ],
)  # fmt: skip
def test_a_platform_that_cannot_hold_its_profile_or_images_is_refused(tmp_path, change, said):
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load((ROOT / "infra/platforms/production.yaml").read_text()) | change))
    with pytest.raises(BadInput, match=said):
        read_platform(file)
