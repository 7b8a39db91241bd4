"""A model's lineage to its technical report: how the model was made and what came of it, from the manifests alone.

The framework wants a report that tells of data, architecture, training, evaluation, use and limits. Every number here is one that a
manifest holds; nothing in it differs between equal runs.
"""

from typing import Any

import jinja2

from recipes.release import Release
from tasks.artifacts.manifest import JSON, Manifest

REPORT = jinja2.Template(
    """\
# Technical report: {{ name }}

{{ summary }} Version {{ version }}. Every number of this report is taken from the manifests of the artifacts that made the model;
`reynard/lineage.json` holds them, `reynard/recipe.yaml` the whole recipe, and `reynard/source.tar.gz` the code.

## 1 Data
{{ '{:,}'.format(documents.counts.documents_in) }} documents were read and {{ '{:,}'.format(documents.counts.documents_kept) }} kept, \
{{ '{:,}'.format(documents.counts.characters_kept) }} of {{ '{:,}'.format(documents.counts.characters_in) }} characters. `DATA_CARD.md`
tells of each source; licences, revisions and digests are in `reynard/licences.json`.

| source | kind | documents read | kept | removed, by reason |
|---|---|---|---|---|
{%- for source, row in documents.details.sources | dictsort %}
| {{ source }} | {{ row.kind }}{{ ' (' + row.role + ')' if row.role != 'corpus' }} | {{ '{:,}'.format(row.documents_in) }} | \
{{ '{:,}'.format(row.documents_kept) }} | {{ listed(row.removed) | replace("_", " ") }} |
{%- endfor %}

## 2 Tokens
{{ tokenizer }} {{ '{:,}'.format(tokens.counts.tokens) }} tokens of {{ '{:,}'.format(tokens.counts.documents) }} documents may be trained
on; {{ '{:,}'.format(tokens.counts.held_out_tokens) }} more are held out, chosen by the hash of their documents' content.

## 3 Architecture
A decoder of the {{ model.family }} family with {{ '{:,}'.format(parameters) }} parameters: RMSNorm before each block, rotary positions, SwiGLU,
no biases, grouped query attention.

| {% for key in model %}{{ key | replace('_', ' ') }} | {% endfor %}
|{% for key in model %}---|{% endfor %}
| {% for key, value in model.items() %}{{ value }} | {% endfor %}

## 4 Pre-training
AdamW: {{ described(optimizer) }}. Schedule: {{ described(schedule) }}. Precision {{ precision }}; seed {{ seed }}; attention \
{{ 'across' if across else 'within' }} documents. An anomalous loss (see `anomalies` in the recipe) is met by: {{ anomalies }}.

| stage | tokens | tokens a batch | last step | mixture (tokens) | chunk lengths | optimizer state | loss at the end |
|---|---|---|---|---|---|---|---|
{%- for stage in stages %}
| {{ stage.name }} | {{ '{:,}'.format(stage.details.stage_tokens) }} | {{ '{:,}'.format(stage.identity.section.stage.batch_tokens) }} | \
{{ '{:,}'.format(stage.counts.steps) }} | {{ listed(stage.details.mixture) }} | {{ listed(stage.details.chunk_tokens) }} | \
{{ stage.identity.section.stage.optimizer_state }} | {{ '%.4f' | format(stage.counts.loss) }} |
{%- endfor %}
{% if tuned %}
## 5 Fine-tuning
{{ '{:,}'.format(conversations.counts.conversations) }} conversations under template `{{ tuned.identity.section.sft.template }}`, at most \
{{ tuned.identity.section.sft.max_tokens }} tokens each, loss on assistant tokens alone ({{ '{:,}'.format(conversations.counts.trained_tokens) }} of them).
AdamW: {{ described(tuned.identity.section.sft.optimizer) }}. Schedule: {{ described(tuned.identity.section.sft.schedule) }}. \
{{ tuned.counts.steps }} steps, loss at the end {{ '%.4f' | format(tuned.counts.loss) }}.
{% endif %}
## {{ 6 if tuned else 5 }} Evaluation
Held-out documents: {{ '%.3f' | format(scores.counts.bits_per_byte) }} bits per byte. Benchmarks by lm-evaluation-harness \
{{ scores.details.harness.lm_eval }} in {{ scores.details.harness.precision }}; {{ scores.details['items'] }}.

| suite | benchmark | shots | metric | score | standard error | items | chance |
|---|---|---|---|---|---|---|---|
{%- for row in scores.details.benchmarks %}
| {{ row.suite }} | {{ row.task }} | {{ row.shots }} | {{ row.metric }} | {{ '%.2f' | format(row.score) }} | \
{{ '%.2f' | format(row.stderr) if row.stderr is not none else '' }} | {{ row['items'] }} | {{ '%.0f' | format(row.chance) if row.chance else '' }} |
{%- endfor %}

## {{ 7 if tuned else 6 }} Use and limits
The folder loads with `transformers` alone; `README.md` shows how. The model knows what section 1 lists and nothing else, in \
{{ languages }}, and at most {{ model.context_tokens }} tokens at once. It was not aligned to refuse anything\
{{ '' if tuned else ' and follows no instructions' }}; a score within two standard errors of chance (section {{ 6 if tuned else 5 }}) shows no skill.
How the recipe stands to the report that it follows is in `reynard/fidelity.md`.

## {{ 8 if tuned else 7 }} Making it again
`reynard reproduce FOLDER` runs the recipe of this folder again and compares digests, artifact by artifact.

| artifact | digest |
|---|---|
{%- for one in manifests %}
| {{ one.name }}@{{ one.version[:8] }} | `{{ one.digest }}` |
{%- endfor %}
""",
    keep_trailing_newline=True,
)


def technical_report(section: Release, which: str, manifests: list[Manifest]) -> str:
    """Write the report from the manifests of a checkpoint, its scores and their cards up to the raw sources, the checkpoint first."""
    lineage = [manifest for manifest in manifests if manifest.kind != "card"]
    first = {manifest.kind: manifest for manifest in reversed(lineage)}
    checkpoints = [manifest for manifest in lineage if manifest.kind == "checkpoint"]
    stages = sorted((one for one in checkpoints if "stage" in one.identity["section"]), key=lambda one: one.counts["steps"])
    trained = stages[-1].identity["section"]
    return REPORT.render(
        name=section.repository(which), version=section.version, summary=section.summary, languages=", ".join(section.languages),
        documents=first["documents"], tokens=first["tokens"], tokenizer=_tokenizer(first["tokens"]), scores=first["scores"],
        model={key: value for key, value in trained["model"].items() if value is not None and key != "family"} | {"family": trained["model"]["family"]},
        parameters=checkpoints[0].counts["parameters"], optimizer=trained["optimizer"], schedule=trained["schedule"],
        precision=trained["precision"], seed=trained["seed"], across=trained["attention_across_documents"],
        anomalies=trained.get("anomalies", {"policy": "log"})["policy"], stages=stages, conversations=first.get("conversations"),
        tuned=next((one for one in checkpoints if "sft" in one.identity["section"]), None), manifests=lineage, described=_described, listed=_listed,
    )  # fmt: skip


def _tokenizer(tokens: Manifest) -> str:
    made = tokens.details["tokenizer"]
    return f"The tokenizer ({made['type']}, {made['pieces']:,} pieces) has the sha256 `{made['sha256']}`."


def _described(values: JSON) -> str:
    """Write settings that are set, in the recipe's own words."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items() if value is not None)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:,}" for key, value in sorted(values.items()))
