"""What curation, tokenization and fine-tuning recorded to a data card: each source with its licence, and what became of it."""

import jinja2

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, Manifest
from tasks.release.origins import Origins

CARD = jinja2.Template(
    """# Data of {{ name }}
What {{ name }} was trained on: {{ '{:,}'.format(documents_in) }} documents were read, {{ '{:,}'.format(documents_kept) }} kept and cut into
{{ '{:,}'.format(tokens) }} tokens{{ ', then ' ~ '{:,}'.format(conversations) ~ ' conversations' if chats }}. Rules and thresholds are in
[reynard/recipe.yaml](reynard/recipe.yaml); the digests of all raw files in [reynard/lineage.json](reynard/lineage.json).

## Sources
| source | kind | licence | revision | documents | kept | characters kept | tokens | held out |
|---|---|---|---|---|---|---|---|---|
{%- for row in sources %}
| {{ row.name }} | {{ row.kind }} | {{ row.licence }} | {{ row.revision }} | {{ '{:,}'.format(row.documents_in) }} | {{ '{:,}'.format(row.documents_kept) }} | {{ '{:,}'.format(row.characters_kept) }} | {{ '{:,}'.format(row.tokens) }} | {{ '{:,}'.format(row.held_out_tokens) }} |
{%- endfor %}

Held-out tokens are of whole documents that no stage saw, chosen by the hash of their text; bits per byte are measured on them.

## What was dropped
{% if reasons -%}
| source |{% for reason in reasons %} {{ reason | replace('_', ' ') }} |{% endfor %}
|---|{% for reason in reasons %}---|{% endfor %}
{%- for row in sources %}
| {{ row.name }} |{% for reason in reasons %} {{ '{:,}'.format(row.removed[reason]) if row.removed.get(reason) else '' }} |{% endfor %}
{%- endfor %}
{%- else -%}
Nothing.
{%- endif %}

## Mixtures
| stage |{% for source in mixed %} {{ source }} |{% endfor %}
|---|{% for source in mixed %}---|{% endfor %}
{%- for row in mixtures %}
| {{ row.stage }} |{% for source in mixed %} {{ '{:,}'.format(row.tokens[source]) if row.tokens.get(source) else '' }} |{% endfor %}
{%- endfor %}

In tokens.
{% if chats %}
## Conversations
| source | licence | conversations | tokens | trained on | left out |
|---|---|---|---|---|---|
{%- for row in chats %}
| {{ row.name }} | {{ row.licence }} | {{ '{:,}'.format(row.conversations) }} | {{ '{:,}'.format(row.tokens) }} | {{ '{:,}'.format(row.trained_tokens) }} | {{ row.left_out }} |
{%- endfor %}

Only what the assistant says is trained on. Template: `{{ template }}`.
{% endif %}
## Tokenizer
{{ '{:,}'.format(vocabulary) }} pieces, {{ tokenizer.type }}; licence: {{ tokenizer.licence }}; sha256 of `tokenizer.model`: `{{ tokenizer.sha256 }}`.

## Benchmarks in the training data
{% if declared -%}
By design the training sets of these benchmarks were trained on:
{% for row in declared %}
- {{ row.task }}: {{ row.source }}, in {{ row.where }}
{%- endfor %}
{%- else -%}
No benchmark's training set was trained on by design.
{%- endif %} Items of benchmarks are searched for in everything that was trained on, by shared {{ ngram_words }}-grams; the scores
with and without those found are in the report of the run that made it, which is not part of this repository.
{% if licences %}
## Licences
{{ licences }}
{% endif %}""",
    keep_trailing_newline=True,
)


def data_card(recipe: Recipe, name: str, origins: Origins, licences: str = "") -> str:
    """Render DATA_CARD.md; `licences` is the table of the licence bill of materials."""
    documents, tokens = origins.one("documents"), origins.one("tokens")
    assert documents is not None and tokens is not None, "every model was made from documents"
    rows = source_rows(recipe, documents, tokens)
    mixtures = [{"stage": one.counts["stage"], "tokens": one.details["mixture"]} for one in origins.trained if one.counts["stage"] != "sft"]
    rendered = origins.one("conversations")
    chats = chat_rows(rendered) if rendered else []
    return CARD.render(
        name=name, documents_in=documents.counts["documents_in"], documents_kept=documents.counts["documents_kept"],
        tokens=tokens.counts["tokens"], vocabulary=tokens.counts["vocabulary_size"], tokenizer=tokens.details["tokenizer"], sources=rows,
        reasons=sorted({reason for row in rows for reason, number in row["removed"].items() if number}), mixtures=mixtures,
        mixed=sorted({source for row in mixtures for source in row["tokens"]}), chats=chats,
        conversations=sum(row["conversations"] for row in chats), template=recipe.sft.template, licences=licences,
        declared=[use.model_dump() for use in recipe.contamination.declared], ngram_words=recipe.contamination.ngram_words,
    )  # fmt: skip


def source_rows(recipe: Recipe, documents: Manifest, tokens: Manifest) -> list[JSON]:
    """Return what became of each source, in the recipe's order."""
    own = documents.details["sources"]
    rows = []
    for source in recipe.curation.sources:
        if source.name in own:
            cut = tokens.details["sources"].get(source.name, {})
            counted = {"tokens": cut.get("tokens", 0), "held_out_tokens": cut.get("held_out_tokens", 0)}
            told = {"name": source.name, "kind": source.kind, "licence": source.licence, "revision": source.revision or ""}
            rows.append(own[source.name] | told | counted)
    return rows


def chat_rows(conversations: Manifest) -> list[JSON]:
    """Return what became of each source of conversations."""
    rows = []
    for name, row in conversations.details["sources"].items():
        left = ", ".join(
            f"{number:,} {reason.replace('_', ' ')}" for reason, number in row["reasons"].items() if reason not in ("rows", "kept")
        )
        rows.append(row | {"name": name, "left_out": left or "none"})
    return rows
