"""The shape of a recipe: YAML values in, one frozen, validated object out.

A recipe says WHAT a model is made of and nothing about where it runs. Every field that decides the weights must be written
in the file: there are no defaults for them here, no inheritance and no interpolation. Sections are what tasks receive, so a
section's fields are exactly what invalidates that task's cached result.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from recipes.curation import Curation
from recipes.errors import BadInput
from recipes.load import explain
from recipes.release import Release
from recipes.section import Fraction, Name, Portion, Section

# --- tokenization ------------------------------------------------------------------------------------------------------------


class TrainTokenizer(Section):
    """Train a SentencePiece model on the curated documents, with byte fallback."""

    type: Literal["unigram", "bpe"]
    sample_characters: PositiveInt
    max_piece_characters: PositiveInt


class LoadTokenizer(Section):
    """Use a given SentencePiece `tokenizer.model`. Its licence is recorded; the file is read, never re-licensed."""

    location: str
    licence: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Tokenization(Section):
    """Documents to token shards."""

    vocabulary_size: PositiveInt
    train: TrainTokenizer | None = None
    load: LoadTokenizer | None = None
    bos_per_document: bool  # every document begins with BOS; every document ends with EOS in any case
    held_out_fraction: Annotated[float, Field(gt=0.0, lt=0.5)]  # of the documents of each source, chosen by content hash

    @model_validator(mode="after")
    def _train_or_load(self) -> "Tokenization":
        if (self.train is None) == (self.load is None):
            raise ValueError("tokenization needs exactly one of `train` (make a model) and `load` (use a tokenizer.model)")
        return self


# --- model -------------------------------------------------------------------------------------------------------------------


class Expand(Section):
    """Start from a parent's weights, layer by layer: `layers` gives for each layer, in order, the parent's layer (from 0) that it copies.

    A layer that copies what an earlier layer copied is new. `copy` leaves it so (SOLAR's depth up-scaling, arXiv 2312.15166); `identity`
    zeroes its o_proj and down_proj (LLaMA Pro, arXiv 2401.02415), so that the model begins as exactly the parent's function.
    """

    location: str  # a folder with safetensors under `transformers`' names, or hf://organisation/name
    revision: str | None  # a commit of hf://
    licence: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None  # of the output of `sha256sum model*.safetensors` in the folder
    layers: Annotated[list[NonNegativeInt], Field(min_length=1)]
    new_layers: Literal["identity", "copy"]

    @model_validator(mode="after")
    def _identity_keeps_the_parents_order(self) -> "Expand":
        first = list(dict.fromkeys(self.layers))
        if self.new_layers == "identity" and first != list(range(len(first))):
            raise ValueError(
                f"expand.layers takes the parent's layers in the order {first}: with new_layers `identity` each must come first in its own "
                "place (0, 1, 2 ...), so that the model begins as the parent; use `copy` for another order"
            )
        return self


class Model(Section):
    """A decoder of the Llama/Mistral family: GQA, SwiGLU, RMSNorm before each block, RoPE, no biases."""

    family: Literal["llama", "mistral"]  # the architecture class that the release declares
    vocabulary_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_size: PositiveInt
    context_tokens: PositiveInt
    rope_theta: PositiveFloat
    norm_eps: PositiveFloat
    tied_embeddings: bool
    sliding_window: PositiveInt | None
    initialization: Literal["scratch", "expand"]  # random numbers, or a parent with more layers
    initializer_range: PositiveFloat
    expand: Expand | None = None  # belongs to `initialization: expand`

    @model_validator(mode="after")
    def _shapes_divide(self) -> "Model":
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}: query heads share key heads in equal groups"
            )
        if self.head_size % 2:
            raise ValueError(f"head_size {self.head_size} is odd: rotary embeddings rotate pairs")
        if self.family == "llama" and self.sliding_window is not None:
            raise ValueError("family `llama` has no sliding_window: set it to null or use family `mistral`")
        if (self.initialization == "expand") != (self.expand is not None):
            raise ValueError("`expand` (parent and layers) belongs to `initialization: expand`, which needs it")
        if self.expand is not None and len(self.expand.layers) != self.layers:
            raise ValueError(
                f"expand.layers lists {len(self.expand.layers)} layers and the model has {self.layers}: give the parent's layer for each"
            )
        return self

    def parameter_count(self) -> int:
        """Count trainable parameters in closed form: embeddings, 4 attention and 3 MLP matrices a layer, norms."""
        embedding = self.vocabulary_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        attention = self.hidden_size * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        mlp = 3 * self.hidden_size * self.intermediate_size
        return embedding + self.layers * (attention + mlp + 2 * self.hidden_size) + self.hidden_size


# --- training ----------------------------------------------------------------------------------------------------------------


class AdamW(Section):
    """AdamW with decoupled decay on matrices only (norms and other vectors are not decayed)."""

    peak_learning_rate: PositiveFloat
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)]
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)]
    eps: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0.0)]
    max_gradient_norm: PositiveFloat


class Schedule(Section):
    """Learning rate over optimizer steps, counted through all stages.

    `cosine` and `linear` fall from the end of warm-up to `final_fraction` of the peak at the last step. `wsd` (MiniCPM,
    arXiv 2404.06395) is constant until the first step of the stage named `decay_from_stage`, then decays: `half_life`
    0.5^(n/T), `e_fold` exp(-n/T), or over the remaining steps to `final_fraction` as `linear`, `cosine` or
    `one_minus_sqrt`; T is `decay_temperature_steps`.
    """

    form: Literal["wsd", "cosine", "linear"]
    warmup_steps: NonNegativeInt | None = None
    warmup_fraction: Fraction | None = None
    final_fraction: Fraction
    decay_form: Literal["half_life", "e_fold", "linear", "cosine", "one_minus_sqrt"] | None = None
    decay_from_stage: Name | None = None
    decay_temperature_steps: PositiveFloat | None = None

    @model_validator(mode="after")
    def _fields_of_the_form(self) -> "Schedule":
        if (self.warmup_steps is None) == (self.warmup_fraction is None):
            raise ValueError("schedule needs exactly one of `warmup_steps` and `warmup_fraction`")
        if (self.form == "wsd") != (self.decay_form is not None and self.decay_from_stage is not None):
            raise ValueError("`decay_form` and `decay_from_stage` belong to schedule form `wsd`, which needs both")
        if (self.decay_form in ("half_life", "e_fold")) != (self.decay_temperature_steps is not None):
            raise ValueError("`decay_temperature_steps` belongs to decay forms `half_life` and `e_fold`, which need it")
        return self


class Anomalies(Section):
    """What is done about a loss that leaps or is no number, before its update is made (`tasks/engine/anomalies.py`).

    A loss is a spike if it lies `threshold` robust standard deviations above the median of the last `window_steps` losses. `log` only
    tells of it, `skip` makes no update of its batch, `roll_back` goes back to the newest checkpoint and on behind the batch, as PaLM
    (arXiv 2204.02311, section 5.1). More than `most_skipped_steps` of a stage end it: it is no accident any more.
    """

    policy: Literal["log", "skip", "roll_back"]
    window_steps: Annotated[int, Field(ge=8)]
    threshold: PositiveFloat
    most_skipped_steps: NonNegativeInt


class MixtureEntry(Section):
    """A source's part of a stage: a `weight` relative to the others' (a table's tokens as they are printed), or its `tokens`.

    `portion` is the part [from, to) of the source that the stage may draw from, counted in fractions of the range of its
    documents' content hashes: [0.0, 0.5] and [0.5, 1.0] never share a document. Null means all of the source.

    In a recipe's file an entry may name an earlier `stage` in the place of a source: it stands for that stage's mixture, scaled.
    """

    source: Name
    weight: PositiveFloat | None = None
    tokens: PositiveInt | None = None
    chunk_tokens: PositiveInt
    max_epochs: PositiveFloat
    portion: Portion | None = None

    @property
    def share(self) -> float:
        """The entry's weight among the others of its stage."""
        return self.weight if self.weight is not None else float(self.tokens or 0)

    @model_validator(mode="after")
    def _weight_or_tokens(self) -> "MixtureEntry":
        if (self.weight is None) == (self.tokens is None):
            raise ValueError(f"{self.source!r} needs exactly one of `weight` (relative to the others) and `tokens`")
        return self

    @model_validator(mode="after")
    def _portion_is_a_range(self) -> "MixtureEntry":
        if self.portion is not None and not self.portion[0] < self.portion[1]:
            raise ValueError(f"portion {self.portion} of {self.source!r} is empty: give [from, to) with from below to, such as [0.0, 0.5]")
        return self


class Stage(Section):
    """One curriculum stage: a token budget, a mixture, and what happens to the optimizer's state at its start."""

    name: Name
    tokens: PositiveInt
    batch_tokens: PositiveInt
    optimizer_state: Literal["keep", "reset"]
    mixture: list[MixtureEntry]

    @property
    def steps(self) -> int:
        """Optimizer steps: the whole batches that fit the token budget."""
        return self.tokens // self.batch_tokens

    @property
    def unit_tokens(self) -> int:
        """The longest chunk of the mixture: the unit in which batches are composed."""
        return max(entry.chunk_tokens for entry in self.mixture)

    @property
    def batch_units(self) -> int:
        """Units in a batch."""
        return self.batch_tokens // self.unit_tokens

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "Stage":
        if not self.mixture:
            raise ValueError(f"stage {self.name!r}: the mixture is empty: list at least one source")
        names = [entry.source for entry in self.mixture]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"stage {self.name!r}: source {twice!r} appears twice in the mixture: merge its entries")
        given = [entry.tokens for entry in self.mixture if entry.tokens is not None]
        if given and len(given) < len(self.mixture):
            raise ValueError(f"stage {self.name!r}: some sources have `weight` and some `tokens`: give all the same")
        if given and abs(sum(given) - self.tokens) > self.batch_tokens:
            raise ValueError(
                f"stage {self.name!r}: its sources' tokens add up to {sum(given):,}, its own are {self.tokens:,}: make them equal"
            )
        for entry in self.mixture:
            if self.unit_tokens % entry.chunk_tokens:
                raise ValueError(
                    f"stage {self.name!r}: chunk_tokens {entry.chunk_tokens} of {entry.source!r} does not divide the longest "
                    f"chunk {self.unit_tokens}: choose chunk lengths that divide each other"
                )
        if self.batch_tokens % self.unit_tokens:
            raise ValueError(
                f"stage {self.name!r}: batch_tokens {self.batch_tokens} is not a multiple of the longest chunk "
                f"{self.unit_tokens}: use {self.batch_units * self.unit_tokens or self.unit_tokens}"
            )
        if self.steps < 1:
            raise ValueError(f"stage {self.name!r}: tokens {self.tokens} is less than one batch of {self.batch_tokens}")
        return self


def scaled(entry: dict, earlier: dict[str, list]) -> list[dict]:
    """Return the mixture of the earlier stage that an entry names, its shares scaled to the entry's weight or tokens in all."""
    name, unit = entry["stage"], "tokens" if "tokens" in entry else "weight"
    if name not in earlier:
        raise ValueError(f"a mixture takes from stage {name!r}, which is no earlier stage: choose one of {', '.join(earlier) or 'none'}")
    if unknown := entry.keys() - {"stage", "weight", "tokens", "max_epochs"}:
        raise ValueError(f"an entry for stage {name!r} has {', '.join(sorted(unknown))}: it takes only weight or tokens, and max_epochs")
    shares = [one.get("weight") or one.get("tokens") or 0 for one in earlier[name]]
    parts = [float(entry.get(unit) or 0) * share / sum(shares) for share in shares]
    return [
        {key: value for key, value in one.items() if key not in ("weight", "tokens")}
        | {unit: round(part) if unit == "tokens" else part, "max_epochs": entry.get("max_epochs")}
        for one, part in zip(earlier[name], parts, strict=True)
    ]


class Pretraining(Section):
    """Three curriculum stages (Fox-1 section 2.1.3; Moxin section 3.3).

    Chunks are filled with documents end to end. With `attention_across_documents` a token sees all that is before it in its chunk;
    else only its own document, whose positions begin at 0.
    """

    precision: Literal["float32", "bfloat16"]
    attention_across_documents: bool
    optimizer: AdamW
    schedule: Schedule
    anomalies: Anomalies
    checkpoint_every_steps: PositiveInt
    keep_checkpoints: PositiveInt = 2  # the newest ones inside a stage; the end of each stage is kept in any case
    publish_every_tokens: PositiveInt | None = None  # a checkpoint for publication at the first step behind each multiple; kept for good
    stages: Annotated[list[Stage], Field(min_length=3, max_length=3)]

    @model_validator(mode="before")
    @classmethod
    def _mixtures_of_earlier_stages(cls, values: Any) -> Any:
        """Replace each entry that names an earlier stage by that stage's entries, whose shares it divides."""
        if not (isinstance(values, dict) and isinstance(values.get("stages"), list) and all(isinstance(s, dict) for s in values["stages"])):
            return values
        done: dict[str, list] = {}
        for stage in values["stages"]:
            mixture = stage.get("mixture")
            if isinstance(mixture, list) and any(isinstance(entry, dict) and "stage" in entry for entry in mixture):
                mixture = [
                    one for entry in mixture for one in (scaled(entry, done) if isinstance(entry, dict) and "stage" in entry else [entry])
                ]
            done[stage.get("name", "")] = mixture or []
        return values | {"stages": [stage | {"mixture": done[stage.get("name", "")]} for stage in values["stages"]]}

    @model_validator(mode="after")
    def _decay_stage_exists(self) -> "Pretraining":
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stage names must be unique: {', '.join(names)}")
        if (warmup := self.schedule.warmup_steps or 0) > self.steps:
            raise ValueError(
                f"warmup_steps {warmup} is more than all {self.steps} steps of the stages: the peak would never be reached, lower it"
            )
        if self.schedule.decay_from_stage is not None and self.schedule.decay_from_stage not in names:
            raise ValueError(f"decay_from_stage {self.schedule.decay_from_stage!r} is not a stage: choose one of {', '.join(names)}")
        return self

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


LinearLayer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class ChatSource(Section):
    """Conversations, one a row. `shape` is what a row looks like (`tasks/sft/shapes.py` has each with its origin)."""

    name: Name
    format: Literal["jsonl", "parquet", "dataset", "python_docstrings"]  # dataset: of the hub, or a folder in its layout
    shape: Literal["messages", "alpaca", "sharegpt", "oasst", "prompt_completion"] | None = None  # python_docstrings has none
    location: str
    licence: str
    revision: str | None = None  # the commit of what lies on the hub

    @model_validator(mode="after")
    def _shape_and_revision(self) -> "ChatSource":
        if (self.shape is None) != (self.format == "python_docstrings"):
            raise ValueError(f"{self.name!r}: format `{self.format}` " + ("has no `shape`" if self.shape else "needs a `shape`"))
        if self.revision is None and "hf://" in self.location:
            raise ValueError(f"{self.name!r} lies on the hub, where files change: give the commit that is meant as its `revision`")
        return self


class LoRA(Section):
    """Adapters of low rank (arXiv 2106.09685) on the layers named in `targets`: they alone are trained, and merged in the end."""

    rank: PositiveInt
    alpha: PositiveFloat  # what they add is scaled by alpha / rank
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    targets: Annotated[list[LinearLayer], Field(min_length=1)]


class SFT(Section):
    """Supervised fine-tuning with loss on assistant tokens only.

    A step takes `batch_conversations` conversations, packed into rows of at most `max_tokens`; attention stops at their borders.
    """

    sources: list[ChatSource]
    max_unreadable_fraction: Fraction
    drop_other_assistants: bool  # leave out rows in which the assistant names another one, as Tulu 2 did
    template: Literal["tulu", "tulu_bos", "tulu_legacy", "gemma"]
    max_tokens: PositiveInt  # longer conversations are cut, and counted
    batch_conversations: PositiveInt
    epochs: PositiveFloat | None = None
    tokens: PositiveInt | None = None  # trained conversation tokens, when the budget is given in tokens
    precision: Literal["float32", "bfloat16"]
    lora: LoRA | None  # null: all weights are trained
    optimizer: AdamW
    schedule: Schedule
    anomalies: Anomalies
    checkpoint_every_steps: PositiveInt
    keep_checkpoints: PositiveInt = 2  # the newest ones inside a stage; the end of each stage is kept in any case

    @model_validator(mode="after")
    def _one_budget(self) -> "SFT":
        if not self.sources:
            raise ValueError("sft.sources is empty: list at least one source of conversations")
        if len(names := [source.name for source in self.sources]) > len(set(names)):
            raise ValueError(f"sft.sources has a name twice: {', '.join(names)}")
        if (self.epochs is None) == (self.tokens is None):
            raise ValueError("sft needs exactly one of `epochs` and `tokens`")
        if self.schedule.form == "wsd":
            raise ValueError("sft has a single stage: use schedule form `linear` or `cosine`")
        return self


# --- evaluation and release --------------------------------------------------------------------------------------------------


class Benchmark(Section):
    """A task of lm-evaluation-harness, by its own name; `reported` is what the report printed, in percent."""

    task: str
    shots: NonNegativeInt
    metric: str
    reported: float | None = None


class Suite(Section):
    """Benchmarks whose scores are reported together."""

    name: Name
    checkpoint: Literal["base", "chat", "both"]
    benchmarks: list[Benchmark]
    reported_average: float | None = None


class Evaluation(Section):
    """Scores by lm-evaluation-harness and held-out loss in bits per byte."""

    items: Literal["sample", "hub"]  # the project's committed sample of each set, or the full sets from the Hub
    limit: PositiveInt | None  # items of each task; null for all
    suites: list[Suite]
    batch_size: PositiveInt
    held_out_tokens: PositiveInt  # at most, of each source


class DeclaredUse(Section):
    """A benchmark whose training set was trained on by design: said beside its score, whether an overlap is found or not."""

    task: str  # as in evaluation.suites
    where: Name  # a stage of pre-training, or `sft`
    source: Name  # of the stage's mixture, or of sft.sources


class Contamination(Section):
    """Which n-grams of benchmark items are looked for in everything that was trained on (13 words in GPT-3, Brown et al. 2020, appendix C)."""

    ngram_words: PositiveInt
    declared: list[DeclaredUse]


class FidelityEntry(Section):
    """How a recipe stands to its report in one point."""

    what: str
    status: Literal["reproduced", "deviates", "unspecified"]
    source: str  # section or table of the report
    note: str  # the value, why it deviates, or what we chose


class Recipe(Section):
    """A whole model, from raw documents to release."""

    name: Name
    summary: str
    report: str | None
    seed: NonNegativeInt
    expected_tokens: dict[Name, PositiveInt] | None = None  # as published; for plans alone, decides nothing
    curation: Curation
    tokenization: Tokenization
    model: Model
    pretraining: Pretraining
    sft: SFT
    evaluation: Evaluation
    contamination: Contamination
    release: Release
    fidelity: list[FidelityEntry]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate plain values; BadInput says in a sentence what is wrong."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise BadInput(f"recipe: {explain(error, cls)}") from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON, the form in which Flyte's command line hands a recipe over; BadInput says what is wrong."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise BadInput(f"recipe: {explain(error, cls)}") from None

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        if self.tokenization.vocabulary_size != self.model.vocabulary_size:
            raise ValueError(
                f"tokenization.vocabulary_size {self.tokenization.vocabulary_size} differs from model.vocabulary_size "
                f"{self.model.vocabulary_size}: the embedding has one row for each token, so make them equal"
            )
        known = {source.name for source in self.curation.sources if source.role == "corpus"}
        for name in self.expected_tokens or {}:
            if name not in known:
                raise ValueError(
                    f"expected_tokens names {name!r}, which is not among the corpus of curation.sources: {', '.join(sorted(known))}"
                )
        for stage in self.pretraining.stages:
            for entry in stage.mixture:
                if entry.source not in known:
                    raise ValueError(
                        f"stage {stage.name!r} mixes {entry.source!r}, which is not among the corpus of curation.sources: {', '.join(sorted(known))}"
                    )
            if stage.unit_tokens > self.model.context_tokens:
                raise ValueError(
                    f"stage {stage.name!r}: chunk {stage.unit_tokens} exceeds model.context_tokens {self.model.context_tokens}"
                )
        drawn = {stage.name: {entry.source for entry in stage.mixture} for stage in self.pretraining.stages}
        drawn["sft"] = {source.name for source in self.sft.sources}
        for use in self.contamination.declared:
            if use.source not in drawn.get(use.where, ()):
                raise ValueError(
                    f"contamination.declared says that {use.where!r} trains on {use.source!r}, which it does not: name a stage, or `sft`, and "
                    "one of its sources"
                )
        scored = {f"{suite.name}/{benchmark.task}" for suite in self.evaluation.suites for benchmark in suite.benchmarks}
        for name in self.release.thresholds:
            if name not in scored:
                raise ValueError(
                    f"release.thresholds names {name!r}, which no suite scores: name one of {', '.join(sorted(scored)) or 'none'}, or take it out"
                )
        if self.sft.max_tokens > self.model.context_tokens:
            raise ValueError(f"sft.max_tokens {self.sft.max_tokens} exceeds model.context_tokens {self.model.context_tokens}")
        return self
