"""The whole chain for real: on local disk, from the cache, after an edit, and against an S3 server and an MLflow server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.load import load_recipe
from tasks.artifacts.manifest import read_manifest, sealed
from tasks.artifacts.store import Store
from tasks.drill.drill import VICTIMS, Drill, open_drill, outcome
from tasks.drill.task import run_draws
from tests.pipeline.micro import ROOT, micro_recipe

pytestmark = pytest.mark.slow
PUBLISHING = 25_000  # tokens: inside the second stage, after step 37, and the third, after step 61


def run(recipe: Path, runs: Path, **variables: str) -> tuple[str, dict]:
    """Run the pipeline as a user does; return what it printed and its summary."""
    printed = reynard("pipeline", recipe, runs, **variables)
    return printed, json.loads((runs / "latest" / "summary.json").read_text())


def reynard(workflow: str, recipe: Path, runs: Path, **variables: str) -> str:
    """Run a workflow as a user does; return what it printed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_", "REYNARD_"))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("reynard")), "run", str(recipe), "--workflow", workflow], cwd=ROOT, capture_output=True, text=True,
        env=clean | {"REYNARD_RUNS": str(runs)} | variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def made(printed: str) -> set[str]:
    """Return the artifacts that a run made rather than found."""
    lines = [line for line in printed.splitlines() if line.startswith("✓ ") and "[cached]" not in line]
    return {line.split("@")[0].removeprefix("✓ ") for line in lines}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, str, dict]:
    folder = tmp_path_factory.mktemp("local")
    printed, summary = run(micro_recipe(folder), folder / "runs")
    return folder, printed, summary


def test_a_run_leaves_everything_it_promises(first):
    folder, printed, summary = first
    latest = folder / "runs" / "latest"
    assert latest.resolve() == folder / "runs" / "micro"
    assert summary["documents"]["removed"]["exact_duplicate"] >= 5 and summary["documents"]["removed"]["near_duplicate"] >= 1
    assert summary["documents"]["in"] - sum(summary["documents"]["removed"].values()) == summary["documents"]["kept"]
    assert [row["stage"] for row in summary["stages"]] == ["stage1", "stage2", "stage3", "sft"]
    assert [row["tokens"] for row in summary["stages"]][:3] == [12288, 24576, 24576]
    assert all(row["mixture"] == {"python_library": row["tokens"] / 2, "python_topics": row["tokens"] / 2} for row in summary["stages"][:3])
    assert summary["stages"][2]["loss"] < summary["stages"][0]["first_loss"]
    assert set(summary["scores"]) == {"base", "chat"} and 0 < summary["bits_per_byte"]["base"] < 10
    report = (latest / "report.html").read_text()
    assert "<svg" in report and "http://" not in report.replace("http://www.w3.org", "") and len(report) < 1_000_000
    assert "reynard chat" in printed and "MLflow" in printed


def test_the_released_chat_model_is_a_repository_that_transformers_alone_can_use(first):
    folder = first[0] / "runs" / "latest" / "release" / "chat"
    assert {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    } <= {path.name for path in folder.iterdir()}
    program = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "t = AutoTokenizer.from_pretrained(sys.argv[1]); m = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "i = t.apply_chat_template([{'role': 'user', 'content': 'What is json for?'}], add_generation_prompt=True, return_tensors='pt', return_dict=True)\n"
        "o = m.generate(**i, max_new_tokens=5); print(o.shape[1] - i['input_ids'].shape[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(folder)], capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 1 <= int(done.stdout.split()[-1]) <= 5
    assert "micro" in (folder / "README.md").read_text()
    assert not (first[0] / "runs/latest/release/base/chat_template.jinja").exists()


def test_mlflow_holds_a_run_per_stage_under_the_pipelines_and_a_model_that_leads_back_to_its_sources(first):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{first[0] / 'runs/micro/mlflow.db'}")
    experiment = client.get_experiment_by_name("reynard").experiment_id
    runs = client.search_runs([experiment], max_results=100)
    parent = next(run for run in runs if run.info.run_id == first[2]["locations"]["mlflow_run"])
    children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert {
        "documents",
        "tokens",
        "stage1",
        "stage2",
        "stage3",
        "sft",
        "scores-base",
        "scores-chat",
        "release-base",
        "release-chat",
    } <= set(children)
    assert all(run.info.status == "FINISHED" for run in [parent, *children.values()])
    losses = client.get_metric_history(children["stage1"].info.run_id, "loss")
    assert [metric.step for metric in losses][:4] == [1, 2, 3, 4]
    assert {entry.dataset.digest for entry in children["stage1"].inputs.dataset_inputs} == {first[2]["digests"]["tokens"][:36]}
    versions = client.search_model_versions("name = 'Reynard-tiny-chat'")
    assert len(versions) == 1 and versions[0].tags["digest"] == first[2]["digests"]["release-chat"]
    assert {"lineage.raw-documents", "lineage.documents", "lineage.stage3", "lineage.sft"} <= set(versions[0].tags)


def test_a_second_run_makes_nothing_and_an_edited_sft_section_redoes_sft_and_what_follows(first):
    folder, _, summary = first
    printed, again = run(micro_recipe(folder), folder / "runs")
    assert made(printed) == set()
    assert again["digests"] == summary["digests"]
    printed, edited = run(micro_recipe(folder, epochs=0.2), folder / "runs")
    releases = {"release-base", "release-chat"}  # the recipe lies in both
    assert made(printed) == {"sft", "card-arc_easy-0-shot", "scores-chat", "clean-scores"} | releases
    assert edited["digests"]["stage3"] == summary["digests"]["stage3"] and edited["digests"]["sft"] != summary["digests"]["sft"]


@pytest.fixture(scope="module")
def killed(first, tmp_path_factory) -> Iterator[tuple[Path, Drill, dict]]:
    """The drill with every victim in one draw, against the run on disk that nothing disturbed; this one publishes checkpoints besides."""
    folder = tmp_path_factory.mktemp("killed")
    with open_drill(load_recipe(micro_recipe(folder, PUBLISHING)), folder / "drill", kills=len(VICTIMS)) as drill:
        drill.baseline = outcome(Store(str(first[0] / "runs/micro/store")), drill.recipe)
        (row,) = run_draws(drill, 1, seed=0)
        yield folder, drill, row


@pytest.mark.timeout(1800)
def test_killed_seven_times_on_s3_with_an_mlflow_server_it_gives_the_same_digests(first, killed):
    """Whoever publishes checkpoints and whoever does not; then the rest of the chain."""
    folder, drill, row = killed
    assert row["equal"] and [kill["victim"] for kill in row["kills"]] == list(VICTIMS), row
    assert row["attempts"] >= 3, f"head, driver and driver-term end drivers; two of them may hit the same one: {row}"
    variables = drill.services.variables
    printed, summary = run(folder / "micro.yaml", folder / "runs", **variables)
    assert not {"documents", "tokens", "stage1", "stage2", "stage3"} & made(printed)
    assert summary["locations"]["store"] == variables["REYNARD_STORE"] and not (folder / "runs/micro/store").exists()
    others = {name for name, digest in summary["digests"].items() if first[2]["digests"][name] != digest}
    assert others == {"release-base", "release-chat"}  # the recipe that lies in them publishes checkpoints
    assert (folder / "runs/micro/release/chat/model.safetensors").is_file()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=variables["MLFLOW_TRACKING_URI"])
    assert client.get_run(summary["locations"]["mlflow_run"]).info.status == "FINISHED"
    assert len(client.search_model_versions("name = 'Reynard-tiny-chat'")) == 1
    assert_equals_journal(client, drill.store, {stage.name for stage in drill.recipe.pretraining.stages})
    secrets = [variables["AWS_SECRET_ACCESS_KEY"], variables["AWS_ACCESS_KEY_ID"]]
    places = [*(folder / "runs").rglob("*"), *(folder / "drill").glob("*.log"), *(folder / "drill/runs").rglob("*")]
    assert not [secret for secret in secrets for path in places if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_checkpoints_owe_is_made_from_the_store_alone_and_once(killed):
    folder, drill, _ = killed
    published = {"stage2-step37-tokens25K", "stage3-step61-tokens50K"}
    assert {manifest.name for manifest in sealed(drill.store, "published")} == published
    ends = {"stage1", "stage2", "stage3"}

    def settle() -> str:
        return reynard("checkpoints", folder / "micro.yaml", folder / "runs", **drill.services.variables)

    scored = {manifest.name for manifest in sealed(drill.store, "scores")}
    printed = settle()
    wanted = {f"scores-{name}" for name in ends - {"stage3"} | published} | {"scores-base"}
    own = {f"export-{name}" for name in ends | published} | {"card-arc_easy-0-shot"}  # cards of all have one name
    assert made(printed) == own | wanted - scored  # the pipeline scored the base model
    assert printed.count("exported, logits differ by at most ") == 5
    assert "5 checkpoints of micro, all exported and scored" in printed
    (lost,) = [manifest for manifest in sealed(drill.store, "scores") if manifest.name == "scores-stage2-step37-tokens25K"]
    drill.store.delete(f"scores/{lost.version}")
    assert made(settle()) == {lost.name}
    again = read_manifest(drill.store, f"scores/{lost.version}")
    assert again is not None and again.digest == lost.digest


def assert_equals_journal(client, store: Store, stages: set[str]) -> None:
    """Check that the run that MLflow holds of each stage has every row of its journal, once."""
    experiment = client.get_experiment_by_name("reynard").experiment_id
    runs = client.search_runs([experiment], "attributes.status = 'FINISHED'", max_results=200)
    for key in store.list("checkpoint"):
        manifest = read_manifest(store, key.rsplit("/", 1)[0]) if key.endswith("/_SUCCESS") else None
        if manifest and manifest.name in stages:
            rows = [json.loads(line) for line in store.read(f"checkpoint/{manifest.version}/journal.jsonl").splitlines()]
            own = [run for run in runs if run.data.tags.get("artifact") == f"{manifest.name}@{manifest.version}"]
            held = [client.get_metric_history(run.info.run_id, "loss") for run in own if run.data.tags.get("cached") == "false"]
            told = [(row["step"], row["loss"], round(row["time"] * 1000)) for row in rows]
            assert (
                len(held) == 1 and sorted((m.step, m.value, m.timestamp) for m in held[0] if m.step) == told
            )  # step 0: the stage as a whole


def test_an_mlflow_that_is_not_there_costs_a_warning_and_nothing_else(first, tmp_path: Path):
    from infra.local.services import free_port

    printed, summary = run(
        micro_recipe(first[0]),
        first[0] / "runs",
        REYNARD_STORE=str(first[0] / "runs/micro/store"),
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
    )
    assert "going on without it" in printed
    assert summary["digests"]["stage3"] == first[2]["digests"]["stage3"]
