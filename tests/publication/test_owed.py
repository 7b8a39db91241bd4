"""What checkpoints owe: found in a store by identity, made once, and made again where it is missing. Training and scoring are stand-ins."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, Documents, Handle, Run, Tokens
from tasks.artifacts.manifest import sealed
from tasks.artifacts.store import Store, open_store
from tasks.publication.owed import checkpoints_of, settle
from tasks.release.facts import Loaded
from tasks.runtime.production import Production
from tasks.training.train_stage import stage_identity
from tests.pipeline.micro import micro_recipe
from tests.release.facts import LOADED

ALL = ["stage1", "stage1-step2-tokens1K", "stage2", "stage2-step6-tokens4K", "stage3", "stage3-step10-tokens8K"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(micro_recipe(tmp_path_factory.mktemp("recipe")).read_text()))


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Run:
    """A run whose store has three stages and a checkpoint that was published inside each."""
    run = Run(name="r", folder=str(tmp_path), store=str(tmp_path / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0)
    seal_chain(run, recipe)
    return run


@pytest.fixture
def store(run: Run) -> Store:
    return open_store(run.store)


def seal(run: Run, kind: str, name: str, section, parents: dict[str, Handle], package: str, cls, counts: dict, **files: bytes):
    with Production(run, kind, name, section, parents, package) as made:
        if made.needed:
            made.add_text("content", f"{kind} {name} {section}".encode())
            for file, data in files.items():
                made.add_text(f"{file}.json", data)
            made.seal(counts, {})
    return made.handle(cls)


def seal_chain(run: Run, recipe: Recipe) -> None:
    kept = {"documents_in": 2, "documents_kept": 1, "characters_kept": 9}
    documents = seal(run, "documents", "documents", recipe.curation, {}, "tasks.curation", Documents, kept)
    counts = {"tokens": 1, "held_out_tokens": 1, "vocabulary_size": 512}
    tokens = seal(run, "tokens", "tokens", recipe.tokenization, {"documents": documents}, "tasks.tokenization", Tokens, counts)
    parents: dict[str, Handle] = {"tokens": tokens}
    model = recipe.model.model_dump_json().encode()
    for number, name in enumerate(ALL[1::2]):
        stage = name.split("-")[0]
        section = stage_identity(recipe.model, recipe.pretraining, number, recipe.seed)
        facts = {"stage": stage, "steps": 4 * number + 2, "tokens": 1, "parameters": 1000, "loss": 1.0}
        seal(run, "published", name, section | {"step": 4 * number + 2}, parents, "tasks.training", Checkpoint, facts, model=model)
        last = seal(
            run, "checkpoint", stage, section, parents, "tasks.training", Checkpoint, facts | {"steps": 4 * number + 4}, model=model
        )
        parents = {"tokens": tokens, "parent": last}


@pytest.fixture(autouse=True)
def work(monkeypatch, recipe) -> list[str]:
    """Stand-ins for exporting, loading in a clean process and scoring; what they were asked to do, in order."""
    from tasks.evaluation import score
    from tasks.release import proof

    done: list[str] = []

    def export(source: Path, folder: Path, chat_template: str | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes((source / "content").read_bytes())

    def facts(folder: Path, expected: Path) -> Loaded:
        done.append("proved")
        return replace(LOADED, has_chat_template=False, parameters=recipe.model.parameter_count())

    def evaluate(run, section, which, model, held_out, tokens, scratch) -> dict:
        done.append("scored")
        counts = {"checkpoint": which, "scores": {"suite/task": 25.0}, "bits_per_byte": 2.5}
        return {"counts": counts, "details": {}}

    monkeypatch.setattr(proof, "export", export)
    monkeypatch.setattr(proof, "write_expected", lambda source, target, template, conversations: None)
    monkeypatch.setattr(proof, "clean_process", facts)
    monkeypatch.setattr(score, "export", export)
    monkeypatch.setattr(score, "held_out_documents", lambda tokens: [])
    monkeypatch.setattr(score, "evaluate_checkpoint", evaluate)
    return done


def settled(run: Run, recipe: Recipe) -> list[str]:
    lines: list[str] = []
    lines.append(settle(run, recipe, lines.append))
    return lines


def found(recipe: Recipe, store: Store) -> list[str]:
    return sorted(one.checkpoint.name for one in checkpoints_of(recipe, store, print))


def test_every_checkpoint_gets_an_export_and_scores_in_order_and_a_line(run, store, recipe, work):
    lines = settled(run, recipe)
    assert [line.split("@")[0].strip() for line in lines[:-1]] == [ALL[1], ALL[0], ALL[3], ALL[2], ALL[5], ALL[4]]
    assert all("exported, logits differ by at most 3.0e-06; 2.500 bits per byte  suite/task 25.0" in line for line in lines[:-1])
    assert lines[-1] == "6 checkpoints of micro, all exported and scored" and work == ["proved", "scored"] * 6
    assert {m.name for m in sealed(store, "export")} == {f"export-{name}" for name in ALL}
    page = (Path(run.folder) / "checkpoints.html").read_text()
    assert "6 checkpoints on the same held-out documents" in page and all(name in page for name in ALL)
    # the base model's scores have the pipeline's own name, whoever made them
    assert {m.name for m in sealed(store, "scores")} == {"scores-base"} | {f"scores-{name}" for name in ALL if name != "stage3"}


def test_a_second_run_makes_nothing_and_one_that_lost_scores_makes_those_alone(run, store, recipe, work):
    first = settled(run, recipe)
    work.clear()
    assert settled(run, recipe) == first and work == []
    lost = next(m for m in sealed(store, "scores") if m.name == "scores-stage2-step6-tokens4K")
    store.delete(f"scores/{lost.version}")
    assert settled(run, recipe) == first and work == ["scored"]
    assert next(m for m in sealed(store, "scores") if m.version == lost.version).digest == lost.digest


def test_a_crash_in_between_redoes_only_what_is_missing(run, recipe, work, monkeypatch):
    from tasks.evaluation import score

    evaluate = score.evaluate_checkpoint

    def killed_at_the_third(*arguments) -> dict:
        if work.count("scored") == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(score, "evaluate_checkpoint", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        settled(run, recipe)
    monkeypatch.setattr(score, "evaluate_checkpoint", evaluate)
    settled(run, recipe)
    assert (work.count("proved"), work.count("scored")) == (6, 6)


def test_an_export_that_differs_is_refused_in_words_and_the_others_are_made(run, store, recipe, work, monkeypatch):
    from tasks.release import proof

    facts, exported = proof.clean_process, []

    def second_differs(folder: Path, expected: Path) -> Loaded:
        exported.append(folder)
        return replace(facts(folder, expected), **({"trainer_difference": 0.5} if len(exported) == 2 else {}))

    monkeypatch.setattr(proof, "clean_process", second_differs)
    lines: list[str] = []
    with pytest.raises(BadInput, match=r"1 of 6 checkpoints still owe an export or scores, for the reasons above: stage1@"):
        settle(run, recipe, lines.append)
    (said,) = [line for line in lines if line.startswith("!")]
    assert "export of stage1@" in said and "refused: logits equal the trainer's (largest difference 5.00e-01, tolerance 1e-04;" in said
    assert len(sealed(store, "export")) == 5 and len(sealed(store, "scores")) == 5
    monkeypatch.setattr(proof, "clean_process", facts)
    assert settled(run, recipe)[-1] == "6 checkpoints of micro, all exported and scored"


def test_checkpoints_are_known_by_their_identity_and_not_by_their_name(run, store, recipe):
    assert found(recipe, store) == ALL
    values = recipe.model_dump(mode="json")
    later = values["pretraining"]["stages"][2]
    later["optimizer_state"] = "reset" if later["optimizer_state"] == "keep" else "keep"
    assert found(Recipe.model_validate(values), store) == ALL[:4]
    other = recipe.model_dump(mode="json") | {"seed": recipe.seed + 1}
    assert found(Recipe.model_validate(other), store) == []
    cut = recipe.model_dump(mode="json")
    cut["tokenization"]["held_out_fraction"] = 0.2
    assert found(Recipe.model_validate(cut), store) == []  # trained as the recipe says, but on other tokens


def test_code_that_changed_since_hides_no_checkpoint(run, store, recipe, monkeypatch):
    from tasks.runtime import production

    monkeypatch.setattr(production, "code_digest", lambda package: "another version of it")
    assert found(recipe, store) == ALL
    seal_chain(run, recipe)  # trained again, to the same digests: the same checkpoints
    assert len(sealed(store, "published")) == 6 and found(recipe, store) == ALL


def test_a_checkpoint_whose_tokens_were_removed_is_named_and_left_out(run, store, recipe):
    (tokens,) = sealed(store, "tokens")
    store.delete(f"tokens/{tokens.version}")
    said: list[str] = []
    assert checkpoints_of(recipe, store, said.append) == []
    assert len(said) == 6 and all("is left out: lineage is broken" in line for line in said)


def test_a_store_without_checkpoints_owes_nothing(run, recipe, tmp_path):
    empty = run.model_copy(update={"store": str(tmp_path / "empty")})
    assert settled(empty, recipe) == [f"micro has no checkpoint in {empty.store}"]
