"""A run's own numbers to a model card: what the model is, how it scored, what made it, and how to check all of that."""

import jinja2

from tasks.artifacts.manifest import JSON

# SPDX identifiers (in lower case) that the Hub takes for `license` (hub-docs, repositories-licenses); others are `other` with a name
HUB_LICENCES = frozenset([
    "apache-2.0", "mit", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gpl-2.0",
    "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "isc", "ms-pl", "mpl-2.0", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
    "openmdw-1.0",
])  # fmt: skip

ENVIRONMENT = jinja2.Environment(keep_trailing_newline=True)
ENVIRONMENT.filters["oneline"] = lambda text: " ".join(str(text).split()) or "(nothing)"
CARD = ENVIRONMENT.from_string(
    """# {{ name }}
{% if badge %}
{{ badge }}
{% endif %}
{{ summary }}

{{ '{:,}'.format(parameters) }} parameters, {{ '{:,}'.format(tokens) }} training tokens, context of {{ '{:,}'.format(context) }} tokens,
{{ 'a chat model, fine-tuned from ' ~ base_address if is_chat else 'a base model: it continues text and follows no instructions' }}.
Version {{ version }}, made by Reynard from recipe `{{ recipe }}`, which lies in [reynard/recipe.yaml](reynard/recipe.yaml) whole, as it ran.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("{{ address }}")
model = AutoModelForCausalLM.from_pretrained("{{ address }}")
{%- if is_chat %}
chat = [{"role": "user", "content": "What does json.dumps do?"}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
{%- else %}
inputs = tokenizer("Once upon a time", return_tensors="pt")
{%- endif %}
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=60)[0]))
```

## Intended use and limits
For research on small language models and on how they are made. It was trained on {{ '{:,}'.format(tokens) }} tokens and nothing was done to
make it safe or truthful: what it says may be wrong, and has to be checked before anything depends on it. Languages: {{ languages | join(', ') }}.
{%- if fidelity %}
It follows published reports where it can; [reynard/fidelity.md](reynard/fidelity.md) lists what is reproduced, what deviates and what was
left open: {{ fidelity }}.
{%- endif %}

## Scores
| benchmark | shots | metric | score | standard error | items | chance |{{ ' by design trained on |' if declared }}
|---|---|---|---|---|---|---|{{ '---|' if declared }}
{%- for row in benchmarks %}
| {{ row.task }} | {{ row.shots }} | {{ row.metric }} | {{ '%.1f' | format(row.score) }} | {{ '%.1f' | format(row.stderr) if row.stderr is not none else '' }} | {{ row['items'] }} | {{ '%.0f' | format(row.chance) if row.chance else '' }} |{{ ' ' ~ declared.get(row.task, '') ~ ' |' if declared }}
{%- endfor %}

In percent, by lm-evaluation-harness {{ harness.lm_eval }} in {{ harness.precision }}, {{ harness.prompts }}; {{ measured_on }}. Each benchmark has a
card with the hashes of its prompts in [reynard/cards](reynard/cards).

Held-out loss: {{ '%.3f' | format(bits_per_byte) }} bits per byte over documents that no pre-training stage saw
({% for source, row in held_out.items() %}{{ source }} {{ '%.2f' | format(row.bits_per_byte) }}{{ ', ' if not loop.last }}{% endfor %}).

## What it says
Greedy decoding, at most {{ new_tokens }} tokens; ids and all prompts are in [reynard/samples.json](reynard/samples.json).
{% for sample in samples %}
> **{{ sample.prompt | oneline }}** {{ sample.output | oneline }}
{% endfor %}
## Training
![Loss over steps](reynard/loss.png)

| stage | steps | tokens | batch, tokens | last loss |
|---|---|---|---|---|
{%- for row in stages %}
| {{ row.stage }} | {{ '{:,}'.format(row.steps) }} | {{ '{:,}'.format(row.tokens) }} | {{ '{:,}'.format(row.batch_tokens) }} | {{ '%.3f' | format(row.loss) }} |
{%- endfor %}

The losses of all steps are in [reynard/loss.csv](reynard/loss.csv).

## Data
{{ sources | length }} sources, {{ '{:,}'.format(documents_in) }} documents, {{ '{:,}'.format(documents_kept) }} of them kept. [DATA_CARD.md](DATA_CARD.md)
has each with its licence, what was dropped and why, and the mixture of every stage.
{% if openness %}
## Openness
{{ openness }}
{% endif %}
## How it was made
Every artifact below is sealed by a manifest with sha256 sums; digests are content digests, equal for equal content. The manifests are in
[reynard/lineage.json](reynard/lineage.json). With them and the recipe, `reynard verify` and `reynard reproduce` check this page.

| artifact | digest |
|---|---|
{%- for label, digest in lineage %}
| {{ label }} | `{{ digest }}` |
{%- endfor %}

## Checks passed before release
{% for check in checks -%}
- {{ check.name }}: {{ check.detail }}
{% endfor -%}
"""
)


def model_card(facts: JSON) -> str:
    """Render the card (README.md of the repository): metadata that the Hub reads, then what a person reads."""
    return f"---\n{metadata(facts)}\n---\n{CARD.render(**facts)}"


def metadata(facts: JSON) -> str:
    """Return the card's YAML: licence, languages, what it was made from, and scores as a model-index."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation", task_name="Text generation", dataset_type=row["task"],
            dataset_name=f"{row['task']} ({row['shots']}-shot, {row['items']} items)",
            metric_type=row["metric"], metric_name=f"{row['metric']}, {row['suite']}", metric_value=round(row["score"], 2),
        )
        for row in facts["benchmarks"]
    ]  # fmt: skip
    data = ModelCardData(
        **hub_licence(facts["licence"]), language=list(facts["languages"]), library_name="transformers", pipeline_tag="text-generation",
        tags=["reynard", "chat" if facts["is_chat"] else "base"], datasets=list(facts["datasets"]) or None,
        base_model=facts["base_address"] if facts["is_chat"] else None, model_name=facts["name"], eval_results=results,
        ignore_metadata_errors=False,
    )  # fmt: skip
    return data.to_yaml(line_break="\n").rstrip("\n")


def hub_licence(spdx: str) -> dict[str, str]:
    """Return the Hub's metadata for an SPDX identifier."""
    return {"license": spdx.lower()} if spdx.lower() in HUB_LICENCES else {"license": "other", "license_name": spdx.lower()}
