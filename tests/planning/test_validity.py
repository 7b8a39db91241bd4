"""What of a store stays valid after an edit: a chain sealed with the identities that the tasks use, then recipes that differ."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recipes.load import load_recipe
from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, Documents, Handle, RawSources, Run, Tokens
from tasks.artifacts.store import open_store
from tasks.contamination.find import clean_identity, drawn_by, overlap_identity
from tasks.evaluation.suites import scores_identity
from tasks.planning.plan import Assumptions, make_plan
from tasks.planning.text import plan_text
from tasks.planning.validity import differences, walk
from tasks.preflight.check import pin_chats, pin_sources
from tasks.runtime.production import Production
from tasks.sft.finetune import conversations_identity, sft_identity
from tasks.training.train_stage import stage_identity
from tests.pipeline.micro import ROOT, micro_recipe

CHAIN = ["raw-documents", "documents", "tokens", "stage1", "stage2", "stage3", "raw-conversations", "conversations", "sft"]
NEVER_SEALED = ["release-base", "scores-chat", "release-chat"]


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> dict:
    return yaml.safe_load(micro_recipe(tmp_path_factory.mktemp("recipe")).read_text())


@pytest.fixture(scope="module")
def root(values, tmp_path_factory) -> str:
    """A store that holds the recipe's chain up to fine-tuning, and the base model's scores."""
    folder = tmp_path_factory.mktemp("run")
    run = Run(name="micro", folder=str(folder), store=str(folder / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0)
    seal_chain(run, Recipe.model_validate(values))
    return run.store


def sealed(
    run: Run, kind: str, name: str, section, parents: dict[str, Handle], package: str, cls, counts: dict, details: dict | None = None
):
    with Production(run, kind, name, section, parents, package) as made:
        made.add_text("tokenizer/tokenizer.json" if kind == "tokens" else "content", f"{kind} {name}".encode())
        made.seal(counts, details or {})
        return made.handle(cls)


def seal_chain(run: Run, recipe: Recipe) -> dict[str, Handle]:
    """Seal small artifacts under the identities of the real ones, as the tasks would, one after the other; return some of them."""
    size = {"files": 1, "bytes": 1}
    raw = sealed(run, "raw", "raw-documents", pin_sources(recipe.curation)[0], {}, "tasks.preflight", RawSources, size)
    kept = {"documents_in": 2, "documents_kept": 1, "characters_kept": 9}
    documents = sealed(run, "documents", "documents", recipe.curation, {"raw": raw}, "tasks.curation", Documents, kept)
    sources = {"sources": {"python_topics": {"tokens": 1000}, "python_library": {"tokens": 9000}}}
    counts = {"tokens": 10_000, "held_out_tokens": 9, "vocabulary_size": 512}
    tokens = sealed(run, "tokens", "tokens", recipe.tokenization, {"documents": documents}, "tasks.tokenization", Tokens, counts, sources)
    parents: dict[str, Handle] = {"tokens": tokens}
    for number, stage in enumerate(recipe.pretraining.stages):
        section = stage_identity(recipe.model, recipe.pretraining, number, recipe.seed)
        facts = {"stage": stage.name, "steps": 1, "tokens": 1, "parameters": 1, "loss": 1.0}
        parents = {"tokens": tokens, "parent": sealed(run, "checkpoint", stage.name, section, parents, "tasks.training", Checkpoint, facts)}
    chats = sealed(run, "raw", "raw-conversations", pin_chats(recipe)[0], {}, "tasks.preflight", RawSources, size)
    (entry,) = (
        Production(run, "tokens", "tokens", recipe.tokenization, {"documents": documents}, "tasks.tokenization").__enter__().manifest.files
    )
    rendering = conversations_identity(recipe.sft, {entry.path: entry.sha256})
    told = {"conversations": 80, "tokens": 4000}
    conversations = sealed(run, "conversations", "conversations", rendering, {"raw": chats}, "tasks.sft", Handle, told)
    section = sft_identity(recipe.sft, recipe.model, recipe.seed)
    facts = {"stage": "sft", "steps": 1, "tokens": 1, "parameters": 1, "loss": 1.0}
    tuned = {"parent": parents["parent"], "conversations": conversations}
    chat = sealed(run, "checkpoint", "sft", section, tuned, "tasks.sft", Checkpoint, facts)
    base = seal_scores(run, recipe, "base", parents["parent"], tokens)
    return {"tokens": tokens, "conversations": conversations, "chat": chat, "base": base}


def seal_scores(run: Run, recipe: Recipe, which: str, checkpoint: Handle, tokens: Handle) -> Handle:
    """Seal the scores of a suite without benchmarks."""
    scored, section = {"checkpoint": checkpoint, "tokens": tokens}, scores_identity(recipe.evaluation, which)
    return sealed(run, "scores", f"scores-{which}", section, scored, "tasks.evaluation", Handle, {}, {"benchmarks": []})


def edited(values: dict, path: str, value: object) -> Recipe:
    recipe = copy.deepcopy(values)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    section = recipe
    for key in parents:
        section = section[key]
    section[last] = value
    return Recipe.model_validate(recipe)


def states(recipe: Recipe, root: str) -> dict[str, tuple[str, str]]:
    return {found.name: (found.status, found.why) for found in walk(recipe, open_store(root)).found}


def finished(recipe: Recipe, root: str) -> list[str]:
    return [name for name, (status, _) in states(recipe, root).items() if status == "finished"]


def test_a_finished_chain_stays_valid_and_what_was_never_made_is_to_be_made(values, root):
    recipe = Recipe.model_validate(values)
    assert finished(recipe, root) == [*CHAIN, "scores-base"]
    assert states(recipe, root)["release-base"] == ("to be made", "never made in this store")
    assert states(recipe, root)["release-chat"] == ("to be made", "after scores-chat")


def test_scores_without_overlap_follow_both_scores_and_the_recipes_rule(values, tmp_path: Path):
    recipe = Recipe.model_validate(values)
    run = Run(
        name="micro", folder=str(tmp_path), store=str(tmp_path / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0
    )
    made = seal_chain(run, recipe)
    assert states(recipe, run.store)["contamination"] == ("to be made", "after scores-chat")
    chat = seal_scores(run, recipe, "chat", made["chat"], made["tokens"])
    assert states(recipe, run.store)["contamination"] == ("to be made", "never made in this store")
    rule = overlap_identity(recipe.contamination.ngram_words, [], drawn_by(recipe.pretraining))
    parents = {"tokens": made["tokens"], "conversations": made["conversations"]}
    overlap = sealed(run, "contamination", "contamination", rule, parents, "tasks.contamination", Handle, {})
    assert states(recipe, run.store)["clean-scores"] == ("to be made", "never made in this store")
    parents = {"contamination": overlap, "base": made["base"], "chat": chat}
    sealed(run, "clean_scores", "clean-scores", clean_identity(recipe.contamination), parents, "tasks.contamination", Handle, {})
    assert finished(recipe, run.store) == [*CHAIN, "scores-base", "scores-chat", "contamination", "clean-scores"]
    longer = edited(values, "contamination.ngram_words", 14)
    status, why = states(longer, run.store)["contamination"]
    assert status == "to be made" and "ngram_words: 13 -> 14" in why
    assert states(longer, run.store)["clean-scores"] == ("to be made", "after contamination")


def test_finished_token_streams_say_how_many_epochs_there_will_be(values, root):
    plan = make_plan(Recipe.model_validate(values), Assumptions("local"), root)
    assert plan["supply"] == "store"
    # stage 2 takes 24,576 tokens, half of them from 1,000 of python_topics
    row = next(row for row in plan["stages"][1]["sources"] if row["source"] == "python_topics")
    assert (row["tokens"], row["available"], row["epochs"]) == (12288, 1000, 12.288)
    assert (
        "stage 'stage2' takes 12,288 tokens from 'python_topics', which has 1,000 for it: 12.29 epochs, and max_epochs is 4"
        in plan["warnings"]
    )
    # 0.3 epochs of 80 conversations are 24: 3 batches of 8, 50 tokens each
    assert (plan["sft"]["steps"], plan["sft"]["tokens"]) == (3, 1200)


def test_editing_stage_3_leaves_everything_before_it_valid(values, root):
    recipe = edited(values, "pretraining.stages.2.tokens", 5120)
    assert finished(recipe, root) == ["raw-documents", "documents", "tokens", "stage1", "stage2", "raw-conversations", "conversations"]
    status, why = states(recipe, root)["stage3"]
    assert status == "to be made" and why.startswith("not stage3@") and why.endswith(": stage.tokens: 24,576 -> 5,120")
    assert states(recipe, root)["sft"] == ("to be made", "after stage3")


def test_what_is_rendered_with_a_tokenizer_that_is_not_there_yet_waits_for_it(values, root):
    recipe = edited(values, "tokenization.held_out_fraction", 0.2)
    assert states(recipe, root)["conversations"] == ("to be made", "after tokens")


def test_editing_the_learning_rate_leaves_the_data_valid(values, root):
    recipe = edited(values, "pretraining.optimizer.peak_learning_rate", 0.001)
    assert finished(recipe, root) == ["raw-documents", "documents", "tokens", "raw-conversations", "conversations"]
    assert states(recipe, root)["stage1"][1].endswith(": optimizer.peak_learning_rate: 0.006 -> 0.001")
    assert states(recipe, root)["stage2"][1].endswith(": optimizer.peak_learning_rate: 0.006 -> 0.001")


def test_editing_a_rule_of_curation_leaves_only_the_raw_files_valid(values, root):
    recipe = edited(values, "curation.rules.reference.min_characters", 300)
    assert finished(recipe, root) == ["raw-documents", "raw-conversations"]
    assert states(recipe, root)["documents"][1].endswith(": rules.reference.min_characters: 200 -> 300")
    assert states(recipe, root)["tokens"] == ("to be made", "after documents")


def test_what_decides_nothing_invalidates_nothing(values, root):
    recipe = edited(values, "expected_tokens", {"python_topics": 5})
    assert finished(recipe, root) == [*CHAIN, "scores-base"]


def test_changed_code_is_named_and_what_follows_stays_valid_if_the_content_does(values, root, monkeypatch):
    from tasks.runtime import production

    real = production.code_digest
    monkeypatch.setattr(production, "code_digest", lambda package: "changed" if package == "tasks.curation" else real(package))
    found = states(Recipe.model_validate(values), root)
    assert found["documents"][0] == "to be made" and found["documents"][1].endswith(": code changed")
    assert found["tokens"] == ("if unchanged", "stays valid if documents comes out as before")
    assert found["stage3"] == ("if unchanged", "stays valid if tokens and stage2 come out as before")


def test_sources_that_were_added_or_changed_since_they_were_pinned_are_named(values, root, tmp_path):
    shorter = copy.deepcopy(values)
    extra = next(source for source in shorter["curation"]["sources"] if source["name"] == "python_topics") | {"name": "more_topics"}
    shorter["curation"]["sources"].append(extra)
    assert states(Recipe.model_validate(shorter), root)["raw-documents"] == ("to be made", "sources changed (new: more_topics)")
    moved = edited(values, "curation.sources.1.location", "stdlib:[a-d]*.py")
    assert states(moved, root)["raw-documents"] == ("to be made", "files of python_library changed since they were pinned")
    assert "sources.python_library.location: stdlib:[a-e]*.py -> stdlib:[a-d]*.py" in states(moved, root)["documents"][1]


def test_an_empty_store_is_not_made_by_looking_at_it(values, tmp_path):
    plan = make_plan(Recipe.model_validate(values), Assumptions("local"), str(tmp_path / "store"))
    assert not (tmp_path / "store").exists() and f"artifacts in {tmp_path}/store: none yet, 15 are to be made" in " ".join(
        plan_text(plan).split()
    )


@pytest.mark.slow
def test_what_a_real_run_has_made_is_found_by_its_identity(tmp_path):
    recipe = micro_recipe(tmp_path)
    command = [str(Path(sys.executable).with_name("pyflyte")), "run", "workflows/data.py", "data", "--recipe", str(recipe)]
    environment = os.environ | {"REYNARD_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    loaded = load_recipe(recipe)
    assert finished(loaded, str(tmp_path / "runs" / "micro" / "store")) == ["raw-documents", "documents", "tokens", "raw-conversations"]


def test_differences_go_by_names_where_entries_have_them():
    old = {"mixture": [{"source": "a", "weight": 1}, {"source": "b", "weight": 2}], "eps": 1e-8, "keep": [1, 2]}
    new = {"mixture": [{"source": "b", "weight": 3}, {"source": "a", "weight": 1}], "eps": 1e-8, "keep": [1], "more": True}
    assert differences(old, new) == ["mixture.b.weight: 2 -> 3", "keep: [1, 2] -> [1]", "more: none -> True"]
