"""A proven folder and its origins to all that lies beside the weights: recipe, lineage, evaluation cards, samples, ledger, loss curve.

Everything here follows from the artifacts alone, so that two clones of the project write the same bytes. What differs between equal runs
(commit, times) goes to `reynard/recorded.json`, which is a record of the artifact and not in its digest.
"""

from pathlib import Path

import orjson
import yaml

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, Manifest
from tasks.release.curve import draw_loss, loss_csv, loss_rows
from tasks.release.expected import NEW_TOKENS
from tasks.release.facts import Loaded
from tasks.release.origins import Origins, lineage_json, recorded_json

OWN = "reynard"  # the folder of what is ours beside the Hub's layout
RECORDS = (f"{OWN}/recorded.json",)  # files that may differ between equal releases
STATUS = {"reproduced": "reproduced", "deviates": "deviates", "unspecified": "left open by the report, chosen here"}


def write_contents(folder: Path, recipe: Recipe, origins: Origins, loaded: Loaded) -> None:
    """Write everything but the cards into a release folder."""
    own = folder / OWN
    (own / "cards").mkdir(parents=True)
    (own / "recipe.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
    write_json(own / "lineage.json", lineage_json(origins))
    write_json(own / "recorded.json", recorded_json(origins.every))
    for card in origins.cards:
        write_json(own / "cards" / f"{card.counts['task']}-{card.counts['shots']}-shot.json", evaluation_card(card))
    write_json(own / "samples.json", samples(loaded))
    (own / "fidelity.md").write_text(fidelity(recipe), encoding="utf-8")
    rows = loss_rows(origins.store, origins.trained)
    (own / "loss.csv").write_bytes(loss_csv(rows))
    draw_loss(rows, own / "loss.png")


def recipe_yaml(recipe: Recipe) -> str:
    """Write the recipe that ran, every field of it, as a file that runs again."""
    head = f"# The recipe that made this model, as it ran, every field of it. `reynard run` takes it as it is.\n# name: {recipe.name}\n"
    return head + yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def evaluation_card(card: Manifest) -> JSON:
    """Return one benchmark's card: what was asked of which weights, how, and what came out, without the items themselves."""
    section = card.identity["section"]
    return {
        "card": f"{card.name}@{card.version}", "digest": card.digest, "task": card.counts["task"], "shots": card.counts["shots"],
        "items": card.counts["items"], "limit": card.details["limit"], "results": card.counts["results"], "chance": card.details["chance"],
        "harness": card.details["harness"], "task_hashes": card.details["task_hashes"], "versions": card.details["versions"],
        "data": card.details["data"], "weights": section["weights"], "tokenizer": section["tokenizer"],
    }  # fmt: skip


def samples(loaded: Loaded) -> JSON:
    """Return the answers to the fixed prompts, with ids: what another program that reads the model has to say as well.

    `agreed_tokens` is how many of the output's the project's own decoder chose too, and `leads` how far ahead of the second each of these
    was, in logits: where a lead is small, another program may rightly go another way.
    """
    rows = [
        {"messages": one.get("messages"), "text": one["text"], "ids": one["expected_ids"], "output": one["output"], "output_ids": one["output_ids"],
         "agreed_tokens": len(one["expected_output_ids"]), "leads": one["leads"]}
        for one in loaded.prompts
    ]  # fmt: skip
    return {"decoding": "greedy", "precision": "float32", "new_tokens": NEW_TOKENS, "samples": rows}


def fidelity(recipe: Recipe) -> str:
    """Write the recipe's ledger: how it stands to its report, point by point."""
    lines = ["# Fidelity", f"How recipe `{recipe.name}` stands to {recipe.report or 'the reports that it takes its numbers from'}.", ""]
    for status, said in STATUS.items():
        if rows := [entry for entry in recipe.fidelity if entry.status == status]:
            lines += [
                f"## {said[0].upper()}{said[1:]}",
                *(f"- **{row.what}** ({row.source}): {' '.join(row.note.split())}" for row in rows),
                "",
            ]
    return "\n".join(lines)


def write_json(path: Path, value: JSON) -> None:
    """Write JSON that a person can read; equal values give equal bytes."""
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
