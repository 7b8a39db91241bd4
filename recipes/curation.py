"""The shape of a recipe's curation: where raw data lies, how it is read, and the rules that decide what is worth training on.

Rules come in named sets, and every source names the set that applies to it: web pages, books and code need different ones. An
absent rule is a rule that is off. What a rule measures is kept beside every document, so changing a threshold measures nothing
again.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from recipes.section import Fraction, Name, Portion, Section

# --- sources -----------------------------------------------------------------------------------------------------------------

SourceKind = Literal[  # Fox-1 section 2.1, Moxin section 3.2
    "common_crawl", "c4", "books", "wikipedia", "papers", "code", "science", "web_qa", "math", "instruction",
    "rewritten_books", "flan", "mixed_web", "speeches", "plays", "reference", "planted", "chat",
]  # fmt: skip
SourceFormat = Literal[
    "jsonl", "parquet", "warc", "text",  # files of the user's
    "dataset",  # a dataset of the Hugging Face hub, or a local folder in its layout, streamed by `datasets`
    "python_strings", "python_docstrings",  # the quickstart's embedded corpus
    "planted", "rewritten",  # made from other sources of the recipe
]  # fmt: skip
DERIVED = ("planted", "rewritten")


class ReportedSize(Section):
    """What a report's table prints for a source; nothing is computed from it."""

    where: str
    size: str | None = None
    tokens: PositiveInt | None = None
    average_tokens: PositiveFloat | None = None


class Fields(Section):
    """How a row of JSON or Parquet becomes a document. A field of a field is written with a dot: `meta.url`.

    `template` writes the text from several fields, `{question}\\n\\n{answer}`, instead of taking `text`.
    """

    text: str = "text"
    template: str | None = None
    url: str | None = None
    licence: str | None = None  # a string or a list of strings: checked against the rules' licence list
    path: str | None = None  # a file's name or extension: which programming language it is


class Plants(Section):
    """Duplicates and junk made from other sources, so that a clean demonstration corpus gives curation something to find."""

    of: list[Name]
    exact_copies: NonNegativeInt
    near_copies: NonNegativeInt
    junk: NonNegativeInt
    seed: NonNegativeInt


class Rewriting(Section):
    """Documents of other sources written anew by a language model (Fox-1 section 2.1, RewriteBooks).

    Any server that speaks OpenAI's chat protocol will do: REYNARD_REWRITE_URL and REYNARD_REWRITE_KEY say which. Every answer
    is stored under the hash of its question, so a rerun asks only what is missing.
    """

    of: list[Name]
    model: str
    prompt: str  # `{text}` stands for the passage
    documents: PositiveInt  # how many documents are taken, by content hash
    passage_characters: PositiveInt  # longer documents are rewritten passage by passage
    max_answer_tokens: PositiveInt
    temperature: Annotated[float, Field(ge=0.0)]
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _prompt_has_a_place(self) -> "Rewriting":
        if "{text}" not in self.prompt:
            raise ValueError("rewriting.prompt has no {text}: the model would never see the passage")
        return self


class Source(Section):
    """One kind of raw data: where it lies, how it is read, and under which licence it may be used.

    `location` is a local path or glob, `s3://bucket/key*`, `hf://datasets/...`, `package:NAME/path*` (a data file of an
    installed Python package) or `stdlib:path*` (the Python standard library). Several patterns are separated by spaces.
    For format `dataset` it is `NAME [CONFIG] [SPLIT]`: a dataset of the hub, or a local folder in its layout.

    `role`: `corpus` documents may be trained on. `reference` documents are those of an earlier corpus: what duplicates them is
    dropped, they themselves are neither dropped nor written. `classifier` documents only teach the quality classifier.
    """

    name: Name
    kind: SourceKind
    format: SourceFormat
    location: str
    licence: str
    rules: Name
    role: Literal["corpus", "reference", "classifier"] = "corpus"
    revision: str | None = None  # of a `hf://` or `dataset` location: the commit, branch or tag that is read
    fields: Fields = Fields()
    where: dict[str, list[str]] | None = None  # keep rows whose field, written as text ("2000", "True"), is one of these values
    split_above_characters: PositiveInt | None = None  # cut longer records at paragraph borders
    sample: Portion | None = None  # keep documents whose content hash lies in this part of the range of all hashes
    plants: Plants | None = None
    rewriting: Rewriting | None = None
    reported: ReportedSize | None = None

    @property
    def origins(self) -> list[str]:
        """The sources whose documents this one is made from."""
        return [*(self.plants.of if self.plants else []), *(self.rewriting.of if self.rewriting else [])]

    @model_validator(mode="after")
    def _derived_fields_belong_to_their_format(self) -> "Source":
        for format, field in (("planted", "plants"), ("rewritten", "rewriting")):
            if (self.format == format) != (getattr(self, field) is not None):
                raise ValueError(f"source {self.name!r}: the field `{field}` belongs to format `{format}`, and only to it")
        if self.sample is not None and not self.sample[0] < self.sample[1]:
            raise ValueError(f"source {self.name!r}: sample {self.sample} is empty: give [from, to) with from below to, such as [0.0, 0.5]")
        return self


# --- rules that look at one document -------------------------------------------------------------------------------------------


class C4Lines(Section):
    """C4's cleaning of lines and pages (Raffel et al. 2020, section 2.2): lines that do not count are removed from the text."""

    end_punctuation: bool  # keep only lines that end in . ! ? or a closing quote after one
    min_words_per_line: NonNegativeInt
    min_sentences: NonNegativeInt  # fewer: the page is dropped


class GopherQuality(Section):
    """Gopher's quality rules (Rae et al. 2021, A.1.1). Words are separated by white space."""

    words: Annotated[list[NonNegativeInt], Field(min_length=2, max_length=2)]
    mean_word_length: Annotated[list[PositiveFloat], Field(min_length=2, max_length=2)]
    max_symbols_per_word: Fraction  # `#` and ellipses, each
    max_bullet_lines: Fraction
    max_ellipsis_lines: Fraction
    min_alphabetic_words: Fraction
    min_stop_words: NonNegativeInt  # of: the be to of and that have with; how many different ones occur


class GopherRepetition(Section):
    """Gopher's repetition rules (Rae et al. 2021, A.1.2, table A1): largest shares allowed, of lines, paragraphs or characters."""

    duplicate_lines: Fraction
    duplicate_paragraphs: Fraction
    duplicate_line_characters: Fraction
    duplicate_paragraph_characters: Fraction
    top_ngram_characters: Annotated[list[Fraction], Field(min_length=3, max_length=3)]  # the most frequent 2-, 3- and 4-gram
    duplicate_ngram_characters: Annotated[list[Fraction], Field(min_length=6, max_length=6)]  # all repeated 5- to 10-grams


class FineWebQuality(Section):
    """FineWeb's own rules (Penedo et al. 2024, section 3.6)."""

    min_lines_with_end_punctuation: Fraction
    max_duplicate_line_characters: Fraction
    max_short_lines: Fraction
    short_line_characters: PositiveInt
    max_lines_per_word: PositiveFloat


class LanguageRule(Section):
    """Keep documents that the language model recognises as one of these languages."""

    keep: Annotated[list[str], Field(min_length=1)]
    min_score: Fraction


class CodeRules(Section):
    """Rules for source files (The Stack, Kocetkov et al. 2022; StarCoder's filters, Li et al. 2023, section 3)."""

    licences: list[str] | None  # null: any; a file with several licences needs all of them here
    languages: list[str] | None  # null: any; by the extension table
    max_line_characters: PositiveInt
    max_mean_line_characters: PositiveFloat
    min_alphanumeric: Fraction
    drop_generated: bool  # files that say in their first lines that a program wrote them


class Rules(Section):
    """The rules of one set. Absent means off."""

    min_characters: NonNegativeInt  # after removing punctuation, spaces, newlines and tabs (Moxin section 3.2.1)
    max_characters: PositiveInt  # longer documents are dropped, not read to the end
    repair_encoding: bool = False  # ftfy: mojibake such as `â€™`; dear, so for sources that need it
    html: Literal["main_content", "all_text"] | None = None  # text of HTML by resiliparse; for WARC and for rows that hold HTML
    blocked_urls: bool = False  # drop documents of curation.blocked_urls
    language: LanguageRule | None = None
    c4_lines: C4Lines | None = None
    gopher_quality: GopherQuality | None = None
    gopher_repetition: GopherRepetition | None = None
    fineweb_quality: FineWebQuality | None = None
    code: CodeRules | None = None
    mask: list[Literal["email", "ip", "phone", "key"]] = []
    quality: bool = False  # scored by curation.quality's classifier and subject to its threshold
    exact_duplicates: bool = True
    near_duplicates: Name | None = None  # one of curation.near_duplicates; documents are compared with those of the same rule
    duplicate_paragraphs: bool = False
    decontaminate: bool = False


# --- rules that look at all documents ------------------------------------------------------------------------------------------

Scope = Literal["across_sources", "within_kinds", "within_sources"]


class ExactDuplicates(Section):
    """Exact deduplication of documents with a Bloom filter (Fox-1 section 2.1, Common Crawl and Papers).

    `within_kinds` compares all sources of a kind: all Common Crawl subsets with each other, all papers with each other.
    """

    scope: Scope
    false_positive_rate: Annotated[float, Field(gt=0.0, lt=0.1)]  # the chance that a new document is taken for a copy


class DuplicateParagraphs(Section):
    """Removal of paragraphs (lines) that an earlier document has already, with a Bloom filter (as DCLM-BASELINE's, Moxin section 3.2.1)."""

    scope: Scope
    min_characters: PositiveInt  # shorter paragraphs (headings, `Yes.`) are never removed
    false_positive_rate: Annotated[float, Field(gt=0.0, lt=0.1)]


class NearDuplicates(Section):
    """MinHash-LSH near-deduplication, every candidate verified by Jaccard similarity over all its shingles.

    Moxin section 3.2.1 (lower-cased 13-grams, 0.8) and 3.2.2 (256 permutations, 0.85). SlimPajama's published code: 128
    permutations in 9 bands of 13 rows over character 13-grams. `code_token` splits at everything but letters, digits and `_`,
    as The Stack's code does.
    """

    unit: Literal["character", "word", "code_token"]
    shingle_length: PositiveInt
    permutations: PositiveInt
    bands: PositiveInt
    rows: PositiveInt
    jaccard_threshold: Fraction
    scope: Scope

    @model_validator(mode="after")
    def _bands_fit(self) -> "NearDuplicates":
        if self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands {self.bands} x rows {self.rows} = {self.bands * self.rows} exceeds permutations {self.permutations}: "
                "lower bands or rows, or raise permutations"
            )
        return self


class ModelFile(Section):
    """A fastText model: a file by path, `s3://`, `hf://` or `package:` location. Its licence is recorded; the file is never released."""

    location: str
    licence: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class TrainClassifier(Section):
    """Train a fastText classifier on documents of given sources (positive: like these; negative: unlike these)."""

    positive: Annotated[list[Name], Field(min_length=1)]
    negative: Annotated[list[Name], Field(min_length=1)]
    documents: PositiveInt  # at most so many of each side, by content hash
    epochs: PositiveInt
    dimensions: PositiveInt
    word_ngrams: PositiveInt
    learning_rate: PositiveFloat
    seed: NonNegativeInt


class Quality(Section):
    """A classifier's score of every document, and the share of them that is kept: one threshold for the whole corpus.

    Moxin section 3.2.1: DCLM-BASELINE keeps the top 10 % by a fastText classifier of OH-2.5 and ELI5 against RefinedWeb.
    """

    load: ModelFile | None = None
    train: TrainClassifier | None = None
    label: str  # the score is this label's probability
    keep_fraction: Annotated[float, Field(gt=0.0, le=1.0)]

    @model_validator(mode="after")
    def _load_or_train(self) -> "Quality":
        if (self.load is None) == (self.train is None):
            raise ValueError(
                "curation.quality needs exactly one of `load` (a fastText model file) and `train` (positive and negative sources)"
            )
        return self


class Decontamination(Section):
    """Drop documents that share word n-grams with benchmark items (13 in GPT-3, Brown et al. 2020, appendix C)."""

    location: str  # JSON-lines or Parquet files of the benchmarks' items; every string in them counts
    ngram_words: PositiveInt
    max_matches: NonNegativeInt  # different n-grams that a document may share


class Curation(Section):
    """Raw documents to documents worth training on. Sources are listed in order of preference: of two duplicates, the
    document of the earlier source is kept."""

    sources: list[Source]
    rules: dict[Name, Rules]
    max_unreadable_fraction: Fraction  # of a source's records; more than this stops the run
    blocked_urls: str | None = None  # location of lists of domains, one a line
    language_model: ModelFile | None = None
    quality: Quality | None = None
    exact_duplicates: ExactDuplicates
    near_duplicates: dict[Name, NearDuplicates]
    duplicate_paragraphs: DuplicateParagraphs | None = None
    decontamination: Decontamination | None = None

    def rules_of(self, source: Source) -> Rules:
        """Return the rules that apply to a source."""
        return self.rules[source.rules]

    @model_validator(mode="after")
    def _sources_are_named_once(self) -> "Curation":
        names = [source.name for source in self.sources]
        if not any(source.role == "corpus" for source in self.sources):
            raise ValueError("curation.sources has no source of role `corpus`: list at least one")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source names must be unique, these repeat: {', '.join(repeated)}")
        derived = {source.name for source in self.sources if source.format in DERIVED}
        for source in self.sources:
            for origin in source.origins:
                if origin not in names or origin in derived:
                    raise ValueError(f"source {source.name!r} is made from {origin!r}, which is not another source that is read")
        return self

    @model_validator(mode="after")
    def _rules_have_what_they_need(self) -> "Curation":
        for source in self.sources:
            if source.rules not in self.rules:
                raise ValueError(f"source {source.name!r} names rules {source.rules!r}: curation.rules has {', '.join(sorted(self.rules))}")
            rules = self.rules_of(source)
            of_rows = source.format in ("jsonl", "parquet", "dataset")
            if rules.blocked_urls and of_rows and source.fields.url is None:
                raise ValueError(
                    f"source {source.name!r}: rules {source.rules!r} block addresses, and fields.url is not set: name the field"
                )
            if rules.code and rules.code.languages and of_rows and source.fields.path is None:
                raise ValueError(
                    f"source {source.name!r}: rules {source.rules!r} ask for languages, and fields.path is not set: name the field"
                )
            if source.format == "warc" and rules.html is None:
                raise ValueError(f"source {source.name!r} reads WARC files, whose pages are HTML: set html in rules {source.rules!r}")
        for name, rules in self.rules.items():
            for wants, field in (
                (rules.blocked_urls, "blocked_urls"), (rules.language, "language_model"), (rules.quality, "quality"),
                (rules.duplicate_paragraphs, "duplicate_paragraphs"), (rules.decontaminate, "decontamination"),
            ):  # fmt: skip
                if wants and getattr(self, field) is None:
                    raise ValueError(f"rules {name!r} need curation.{field}, which is not there: add it, or turn the rule off")
            if rules.near_duplicates is not None and rules.near_duplicates not in self.near_duplicates:
                known = ", ".join(sorted(self.near_duplicates)) or "none"
                raise ValueError(f"rules {name!r} name near_duplicates {rules.near_duplicates!r}: curation.near_duplicates has {known}")
        names = {source.name for source in self.sources}
        for side in (*self.quality.train.positive, *self.quality.train.negative) if self.quality and self.quality.train else ():
            if side not in names:
                raise ValueError(
                    f"curation.quality.train names source {side!r}, which is not among the sources: {', '.join(sorted(names))}"
                )
        return self
