"""Every task through `pyflyte-execute`, as its pod runs it: handles cross processes on S3, every pod leaves outputs and a deck."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flytekit.core.base_task import PythonTask

from recipes.load import load_recipe
from recipes.schema import Recipe
from tasks.artifacts.handles import CleanScores, Released, Run, Summary
from tests.deployment.pods import Cluster, Ran, cluster, value
from tests.hub.server import serve
from tests.hub.storage import Storage
from tests.pipeline.micro import ROOT, micro_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]
TOKEN = "hf_recognisableTokenOfTheTests2345"
TABS = {  # of each task's deck
    "start_run": ["run", "links"], "open_run": ["run"], "curate_documents": ["curation", "links"], "tokenize_documents": ["tokens", "links"],
    "train_stage": ["training", "links"], "finetune": ["conversations", "fine-tuning", "links"], "evaluate_model": ["scores", "links"],
    "find_contamination": ["contamination", "links"], "release_model": ["release", "links"], "waits_for_approval": ["approval"],
    "present_release": ["release"], "deliver_release": ["release"], "summarize": ["report", "lineage"], "plan_run": ["plan"],
    "settle_checkpoints": ["checkpoints", "links"], "publish_models": ["publication", "links"], "drill_recipe": ["drill"],
}  # fmt: skip


def all_tasks() -> dict[str, PythonTask]:
    """Return every task of the project by its function's name."""
    modules = [importlib.import_module(f"tasks.{path.parent.name}.task") for path in (ROOT / "tasks").glob("*/task.py")]
    return {one.task_function.__name__: one for module in modules for one in vars(module).values() if isinstance(one, PythonTask)}


@dataclass
class Chain:
    """The pipeline's tasks, run one after the other; `ran` has what each left, by node."""

    cluster: Cluster
    recipe: Recipe
    ran: dict[str, Ran] = field(default_factory=dict)

    def run(self, task: str, node: str = "", environment: dict[str, str] | None = None, **inputs: Any) -> Any:
        """Run a task and return its only output, or all of them by name."""
        node = node or task
        self.ran[node] = made = self.cluster.run(all_tasks()[task], node.replace("_", "-"), environment, **inputs)
        return made.outputs.get("o0", made.outputs)

    def pipeline(self) -> None:
        """Run what `workflows/pipeline.py` wires."""
        recipe = self.recipe
        started = self.run("start_run", recipe=recipe, name="", store="")
        run = started["run"]
        documents = self.run("curate_documents", run=run, section=recipe.curation, raw=started["documents"])
        tokens = self.run("tokenize_documents", run=run, section=recipe.tokenization, documents=documents)
        stages: list[Any] = []
        for number in (1, 2, 3):
            given = {"run": run, "seed": recipe.seed, "model": recipe.model, "pretraining": recipe.pretraining, "number": number}
            stages.append(self.run("train_stage", f"train_stage/{number}", **given, tokens=tokens, parent=stages[-1] if stages else None))
        chat = self.run(
            "finetune", run=run, seed=recipe.seed, model=recipe.model, section=recipe.sft, raw=started["conversations"], base=stages[-1]
        )
        checkpoints, scores, released = {"base": stages[-1], "chat": chat}, {}, {}
        for which, checkpoint in checkpoints.items():
            scores[which] = self.run(
                "evaluate_model",
                f"evaluate_model/{which}",
                run=run,
                section=recipe.evaluation,
                which=which,
                tokens=tokens,
                checkpoint=checkpoint,
            )
        clean = self.run(
            "find_contamination", run=run, section=recipe.contamination, pretraining=recipe.pretraining, chat=chat,
            base_scores=scores["base"], chat_scores=scores["chat"],
        )  # fmt: skip
        for which, checkpoint in checkpoints.items():
            release = self.run(
                "release_model", f"release_model/{which}", run=run, recipe=recipe, which=which, checkpoint=checkpoint, scores=scores[which]
            )
            released[which] = self.run(
                "deliver_release", f"deliver_release/{which}", run=run, section=recipe.release, release=release, by_gate=False
            )
        self.run("waits_for_approval", run=run, section=recipe.release, release=released["chat"])
        self.run("present_release", run=run, release=released["chat"])
        self.run(
            "summarize", run=run, recipe=recipe, documents=documents, tokens=tokens, stages=stages, chat=chat, base_scores=scores["base"],
            chat_scores=scores["chat"], clean_scores=clean, base_release=released["base"], chat_release=released["chat"],
        )  # fmt: skip

    def others(self, hub: str) -> None:
        """Run the tasks of the other workflows, on what the pipeline has left."""
        run = self.run("open_run", recipe=self.recipe, name="", store="")
        self.run("settle_checkpoints", run=run, recipe=self.recipe)
        self.run(
            "plan_run",
            recipe=self.recipe,
            profile="h100x64",
            mfu=0.4,
            price=2.5,
            micro_batch_tokens=0,
            tokens_per_second=0.0,
            name="",
            store="",
        )
        released = {which: self.ran[f"deliver_release/{which}"].o0 for which in ("base", "chat")}
        self.run("publish_models", environment={"HF_ENDPOINT": hub, "HF_TOKEN": TOKEN}, run=run, **released, private=False)
        self.run("drill_recipe", recipe=self.recipe, draws=1, kills=1, seed=0)


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("pods")
    with cluster(folder) as services, serve(Storage(token=TOKEN)) as hub:
        made = Chain(services, load_recipe(micro_recipe(folder)))
        made.pipeline()
        made.others(hub.url)
        yield made


def test_what_pods_hand_on_ends_in_two_releases_that_outlive_them(chain):
    run = value(chain.ran["start_run"].outputs["run"], Run)
    assert run.profile == "smoke" and not Path(run.folder).exists(), "a pod's disk goes with it"
    assert value(chain.ran["deliver_release/chat"].o0, Released).repository == "Reynard-tiny-chat"
    assert value(chain.ran["find_contamination"].o0, CleanScores).items > 0
    assert value(chain.ran["waits_for_approval"].o0, bool) is False
    summary = value(chain.ran["summarize"].o0, Summary)
    assert summary.report == f"{chain.cluster.variables['REYNARD_STORE']}/reports/micro/report.html"
    assert value(chain.ran["drill_recipe"].o0, str) == "1 of 1 draws ended bit for bit as the undisturbed run"
    assert "Reynard-tiny-chat@v0.1.0" in value(chain.ran["publish_models"].o0, str)


def test_every_task_was_run_and_left_the_decks_it_promises_and_no_others(chain):
    assert {node.split("/")[0] for node in chain.ran} == set(all_tasks())
    for node, ran in chain.ran.items():
        tabs = re.findall(r'<li onclick="handleLinkClick\(this\)">(.*?)</li>', ran.deck)
        assert tabs == TABS[node.split("/")[0]], node


def test_a_deck_is_small_and_fetches_nothing_but_what_flyte_itself_puts_around_it(chain):
    for node, ran in chain.ran.items():
        assert len(ran.deck.encode()) < 1_000_000, node
        own = ran.deck.split('<div id="flyte-frame-container">')[1].split("<script>")[0]
        assert not re.search(r"<(script|iframe|img|link|object|embed)\b|<[^>]+\ssrc=", own), node
        assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>(.*?)</style>", own, re.DOTALL))), node
        assert set(re.findall(r"<script[^>]*>", ran.deck)) == {"<script>"}, "Flyte's own, for its tabs"
        secrets = [TOKEN, *(chain.cluster.variables[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))]
        assert not [secret for secret in secrets if secret in ran.deck], node
