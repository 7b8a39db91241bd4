"""A run's own numbers to a model card: what the model is, what made it, how it scored, and how to check all of that."""

import jinja2

from tasks.artifacts.manifest import JSON

CARD = jinja2.Template(
    """---
license: {{ licence }}
language: [{{ languages | join(', ') }}]
library_name: transformers
pipeline_tag: text-generation
tags: [reynard]
model-index:
- name: {{ name }}
  results:
{%- for row in benchmarks %}
  - task: {type: text-generation}
    dataset: {name: "{{ row.task }} ({{ row.shots }}-shot, {{ row['items'] }} items)", type: {{ row.task }}}
    metrics: [{type: {{ row.metric }}, value: {{ '%.2f' | format(row.score) }}}]
{%- endfor %}
---
# {{ name }}

{{ summary }}

{{ '{:,}'.format(parameters) }} parameters, {{ '{:,}'.format(tokens) }} training tokens, context of {{ context }} tokens. Made by
[Reynard](#how-it-was-made) from recipe `{{ recipe }}`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("{{ name }}")
model = AutoModelForCausalLM.from_pretrained("{{ name }}")
{%- if is_chat %}
ids = tokenizer.apply_chat_template([{"role": "user", "content": "What does json.dumps do?"}], add_generation_prompt=True, return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=60)[0]))
{%- else %}
print(tokenizer.decode(model.generate(**tokenizer("Mr. Speaker,", return_tensors="pt"), max_new_tokens=60)[0]))
{%- endif %}
```

## Scores
| benchmark | shots | metric | score | standard error | items | chance |
|---|---|---|---|---|---|---|
{%- for row in benchmarks %}
| {{ row.task }} | {{ row.shots }} | {{ row.metric }} | {{ '%.1f' | format(row.score) }} | {{ '%.1f' | format(row.stderr) if row.stderr is not none else '' }} | {{ row['items'] }} | {{ '%.0f' | format(row.chance) if row.chance else '' }} |
{%- endfor %}

Held-out loss: {{ '%.3f' | format(bits_per_byte) }} bits per byte over documents that no pre-training stage saw
({% for source, row in held_out.items() %}{{ source }} {{ '%.2f' | format(row.bits_per_byte) }}{{ ', ' if not loop.last }}{% endfor %}).

## Data
| source | kind | licence | documents | kept |
|---|---|---|---|---|
{%- for row in sources %}
| {{ row.name }} | {{ row.kind }} | {{ row.licence }} | {{ '{:,}'.format(row.documents_in) }} | {{ '{:,}'.format(row.documents_kept) }} |
{%- endfor %}

## How it was made
Every artifact below is sealed by a manifest with sha256 sums; digests are content digests, equal for equal content.

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
    """Render the card (README.md of the repository)."""
    return CARD.render(**facts)
