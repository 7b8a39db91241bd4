"""What was measured of documents to the reason to drop each one: pure functions from columns of attributes to masks.

Every rule is a list of checks, a measured value against its limit, and a document is dropped if one of them fails. `decide`
and `explain_row` read the same checks, so an explanation never differs from the decision. Two rules hold for all: a value equal
to its limit passes, and a share of nothing is 0 (so a document without words has mean word length 0).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.curation import (
    C4Lines,
    CodeRules,
    Curation,
    Decontamination,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    LanguageRule,
    Rules,
    Source,
)
from recipes.errors import BadInput
from tasks.curation.code_files import LANGUAGES

REASONS = (
    "", "unreadable", "too_long", "crashed", "not_sampled", "blocked_url", "too_short", "language", "c4_lines", "gopher_quality",
    "gopher_repetition", "fineweb_quality", "code", "contaminated", "low_quality", "exact_duplicate", "near_duplicate", "emptied",
)  # fmt: skip
COLUMNS = (  # what the rules read
    "fault", "hash_place", "blocked_url", "language", "language_score", "quality", "c4_page", "c4_sentences", "benchmark_matches",
    "licences", "programming_language", "generated",
    "characters", "stripped_characters", "words", "word_characters", "hash_symbols", "ellipses", "lines", "bullet_lines",
    "ellipsis_lines", "alphabetic_words", "stop_words", "duplicate_lines", "line_characters", "duplicate_line_characters", "paragraphs",
    "duplicate_paragraphs", "duplicate_paragraph_characters", *(f"top_{n}gram_characters" for n in range(2, 5)),
    *(f"duplicate_{n}gram_characters" for n in range(5, 11)), "end_punctuation_lines", "short_lines", "newlines", "max_line_characters",
    "alphanumeric_characters",
)  # fmt: skip
FAULTS = ("unreadable", "too_long", "crashed")  # what the column `fault` may name: the record never became a whole document

Columns = Mapping[str, Any]  # name to array, one element a document


@dataclass(frozen=True)
class Check:
    """One measured value of every document, the limit it is held to, and whether it passed."""

    rule: str
    values: np.ndarray
    limit: str
    passed: np.ndarray


def fails(checks: list[Check], documents: int) -> np.ndarray:
    """Return the mask of documents that fail at least one check."""
    dropped = np.zeros(documents, dtype=bool)
    for check in checks:
        dropped |= ~check.passed
    return dropped


def too_short(columns: Columns, rules: Rules) -> list[Check]:
    """Check the floor: characters left after removing punctuation, spaces, newlines and tabs (Moxin section 3.2.1)."""
    return [_at_least("min_characters", columns["stripped_characters"], rules.min_characters)]


def too_long(columns: Columns, rules: Rules) -> list[Check]:
    """Check the ceiling of a document's characters; a record that was not read to its end has the fault `too_long` instead."""
    return [_at_most("max_characters", columns["characters"], rules.max_characters)]


def faults(columns: Columns, name: str) -> list[Check]:
    """Check that a record became a document: not unreadable, not cut off as too long, not the end of the process reading it."""
    values = _strings(columns["fault"])
    return [Check(f"fault:{name}", values, f"not {name}", values != name)]


def not_sampled(columns: Columns, source: Source) -> list[Check]:
    """Check that a document's content hash lies in the source's part of the range of hashes (Fox-1 section 2.1, `half of Common Crawl`)."""
    if source.sample is None:
        return []
    start, end = source.sample
    place = np.asarray(columns["hash_place"], dtype=float)
    return [Check("sample", place, f"[{start:g}, {end:g})", (place >= start) & (place < end))]


def blocked_url(columns: Columns) -> list[Check]:
    """Check that a document's address is on no block list of domains (RefinedWeb, Penedo et al. 2023, section 3.1)."""
    blocked = np.asarray(columns["blocked_url"], dtype=bool)
    return [Check("blocked_urls", blocked, "False", ~blocked)]


def language(columns: Columns, rule: LanguageRule) -> list[Check]:
    """Check the language that was identified and its score (CCNet, Wenzek et al. 2020, section 2.3)."""
    return [
        _one_of("language.keep", columns["language"], rule.keep),
        _at_least("language.min_score", columns["language_score"], rule.min_score),
    ]


def c4_lines(columns: Columns, rule: C4Lines) -> list[Check]:
    """Check what is left of a page after C4's cleaning of its lines, and the page itself (Raffel et al. 2020, section 2.2)."""
    fault = np.asarray(columns["c4_page"], dtype=bool)
    return [
        Check("c4_lines.page", fault, "False (no `lorem ipsum`, no `{`)", ~fault),
        _at_least("c4_lines.min_sentences", columns["c4_sentences"], rule.min_sentences),
    ]


def gopher_quality(columns: Columns, rule: GopherQuality) -> list[Check]:
    """Check Gopher's quality rules (Rae et al. 2021, A.1.1)."""
    words, lines = columns["words"], columns["lines"]
    return [
        _within("gopher_quality.words", words, rule.words),
        _within("gopher_quality.mean_word_length", _share(columns["word_characters"], words), rule.mean_word_length),
        _at_most("gopher_quality.max_symbols_per_word (#)", _share(columns["hash_symbols"], words), rule.max_symbols_per_word),
        _at_most("gopher_quality.max_symbols_per_word (...)", _share(columns["ellipses"], words), rule.max_symbols_per_word),
        _at_most("gopher_quality.max_bullet_lines", _share(columns["bullet_lines"], lines), rule.max_bullet_lines),
        _at_most("gopher_quality.max_ellipsis_lines", _share(columns["ellipsis_lines"], lines), rule.max_ellipsis_lines),
        _at_least("gopher_quality.min_alphabetic_words", _share(columns["alphabetic_words"], words), rule.min_alphabetic_words),
        _at_least("gopher_quality.min_stop_words", columns["stop_words"], rule.min_stop_words),
    ]


def gopher_repetition(columns: Columns, rule: GopherRepetition) -> list[Check]:
    """Check Gopher's repetition rules (Rae et al. 2021, A.1.2, table A1): shares of lines, of paragraphs, of all characters."""
    characters = columns["characters"]
    checks = [
        _at_most("gopher_repetition.duplicate_lines", _share(columns["duplicate_lines"], columns["lines"]), rule.duplicate_lines),
        _at_most(
            "gopher_repetition.duplicate_paragraphs",
            _share(columns["duplicate_paragraphs"], columns["paragraphs"]),
            rule.duplicate_paragraphs,
        ),
    ]
    for name in ("duplicate_line_characters", "duplicate_paragraph_characters"):
        checks.append(_at_most(f"gopher_repetition.{name}", _share(columns[name], characters), getattr(rule, name)))
    for n, limit in zip(range(2, 5), rule.top_ngram_characters, strict=True):
        checks.append(_at_most(f"gopher_repetition.top_{n}gram_characters", _share(columns[f"top_{n}gram_characters"], characters), limit))
    for n, limit in zip(range(5, 11), rule.duplicate_ngram_characters, strict=True):
        name = f"duplicate_{n}gram_characters"
        checks.append(_at_most(f"gopher_repetition.{name}", _share(columns[name], characters), limit))
    return checks


def fineweb_quality(columns: Columns, rule: FineWebQuality) -> list[Check]:
    """Check FineWeb's own rules (Penedo et al. 2024, section 3.6).

    As datatrove's code has it today, a share equal to its limit passes; the paper's text drops it. Repeated lines are a share of
    the characters that lie on lines, newlines left out.
    """
    lines = columns["lines"]
    duplicate = _share(columns["duplicate_line_characters"], columns["line_characters"])
    return [
        _at_least(
            "fineweb_quality.min_lines_with_end_punctuation",
            _share(columns["end_punctuation_lines"], lines),
            rule.min_lines_with_end_punctuation,
        ),
        _at_most("fineweb_quality.max_duplicate_line_characters", duplicate, rule.max_duplicate_line_characters),
        _at_most("fineweb_quality.max_short_lines", _share(columns["short_lines"], lines), rule.max_short_lines),
        _at_most("fineweb_quality.max_lines_per_word", _share(columns["newlines"], columns["words"]), rule.max_lines_per_word),
    ]


def code(columns: Columns, rule: CodeRules, source_licence: str) -> list[Check]:
    """Check a source file (The Stack, Kocetkov et al. 2022, section 3; StarCoder, Li et al. 2023, section 3.2).

    A file that states no licence has its source's; licences are compared without regard to case. The mean line is that of all
    lines, blank ones included. BadInput for a language that the extension table does not have: no file would ever pass.
    """
    characters, newlines = np.asarray(columns["characters"], dtype=float), np.asarray(columns["newlines"], dtype=float)
    checks = [
        _at_most("code.max_line_characters", columns["max_line_characters"], rule.max_line_characters),
        _at_most("code.max_mean_line_characters", (characters - newlines) / (newlines + 1), rule.max_mean_line_characters),
        _at_least("code.min_alphanumeric", _share(columns["alphanumeric_characters"], characters), rule.min_alphanumeric),
    ]
    if rule.languages is not None:
        known = {name.lower() for name in LANGUAGES}
        if unknown := [name for name in rule.languages if name.lower() not in known]:
            raise BadInput(
                f"code.languages {', '.join(unknown)}: no file extension has this name: use one of {', '.join(sorted(LANGUAGES))}"
            )
        checks.append(_one_of("code.languages", columns["programming_language"], rule.languages))
    if rule.licences is not None:
        checks.append(_licensed(columns["licences"], rule.licences, source_licence))
    if rule.drop_generated:
        generated = np.asarray(columns["generated"], dtype=bool)
        checks.append(Check("code.drop_generated", generated, "False", ~generated))
    return checks


def contaminated(columns: Columns, rule: Decontamination) -> list[Check]:
    """Check the number of different n-grams shared with benchmark items (GPT-3, Brown et al. 2020, appendix C)."""
    return [_at_most("decontamination.max_matches", columns["benchmark_matches"], rule.max_matches)]


def low_quality(columns: Columns, threshold: float) -> list[Check]:
    """Check the classifier's score against the corpus's one threshold (Moxin section 3.2.1); a document not scored passes."""
    scores = np.asarray(columns["quality"], dtype=float)
    return [Check("quality", scores, f">= {threshold:.6g}", ~(scores < threshold))]


def checks_of(columns: Columns, source: Source, curation: Curation, quality_threshold: float | None) -> dict[str, list[Check]]:
    """Return the checks of every rule that is on for a source, by reason, in order of precedence.

    Without `quality_threshold` (not known until all documents are scored) the quality rule is left out.
    """
    rules = curation.rules_of(source)
    code_check: Callable[[Columns, CodeRules], list[Check]] = lambda values, rule: code(values, rule, source.licence)  # noqa: E731
    found: dict[str, list[Check]] = {name: faults(columns, name) for name in FAULTS}
    found["too_long"] += too_long(columns, rules)
    found["not_sampled"] = not_sampled(columns, source)
    found["blocked_url"] = blocked_url(columns) if rules.blocked_urls else []
    found["too_short"] = too_short(columns, rules)
    for reason, check, rule in (
        ("language", language, rules.language), ("c4_lines", c4_lines, rules.c4_lines),
        ("gopher_quality", gopher_quality, rules.gopher_quality), ("gopher_repetition", gopher_repetition, rules.gopher_repetition),
        ("fineweb_quality", fineweb_quality, rules.fineweb_quality), ("code", code_check, rules.code),
        ("contaminated", contaminated, curation.decontamination if rules.decontaminate else None),
    ):  # fmt: skip
        found[reason] = check(columns, rule) if rule is not None else []
    found["low_quality"] = low_quality(columns, quality_threshold) if rules.quality and quality_threshold is not None else []
    return found


def decide(columns: Columns, source: Source, curation: Curation, quality_threshold: float | None) -> np.ndarray:
    """Return each document's reason as uint8, an index into REASONS (0: none); the first reason in order wins.

    ValueError if a threshold is given and a document that passes everything else was not scored: it would be kept unseen.
    """
    documents = len(columns["characters"])
    reasons = np.zeros(documents, dtype=np.uint8)
    for reason, checks in checks_of(columns, source, curation, quality_threshold).items():
        reasons[fails(checks, documents) & (reasons == 0)] = REASONS.index(reason)
    if curation.rules_of(source).quality and quality_threshold is not None:
        unscored = int(np.sum(np.isnan(np.asarray(columns["quality"], dtype=float)) & (reasons == 0)))
        if unscored:
            raise ValueError(
                f"source {source.name!r}: {unscored} documents pass every other rule and have no quality score: score them, then decide again"
            )
    return reasons


def explain_row(
    row: Mapping[str, Any], source: Source, curation: Curation, quality_threshold: float | None
) -> list[tuple[str, Any, str, bool]]:
    """List every rule that is on with one document's measured value, its limit and whether it passed, in order of precedence."""
    columns = {name: np.array([value]) for name, value in row.items()}
    checks = [check for group in checks_of(columns, source, curation, quality_threshold).values() for check in group]
    return [(check.rule, check.values[0].item(), check.limit, bool(check.passed[0])) for check in checks]


def _share(part: Any, whole: Any) -> np.ndarray:
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _at_least(rule: str, values: Any, limit: float) -> Check:
    values = np.asarray(values, dtype=float)
    return Check(rule, values, f">= {limit:g}", values >= limit)


def _at_most(rule: str, values: Any, limit: float) -> Check:
    values = np.asarray(values, dtype=float)
    return Check(rule, values, f"<= {limit:g}", values <= limit)


def _within(rule: str, values: Any, limits: list) -> Check:
    values = np.asarray(values, dtype=float)
    return Check(rule, values, f"{limits[0]:g} to {limits[1]:g}", (values >= limits[0]) & (values <= limits[1]))


def _one_of(rule: str, values: Any, allowed: list[str]) -> Check:
    values = _strings(values)
    return Check(rule, values, f"one of {', '.join(allowed)}", np.isin(np.char.lower(values), [name.lower() for name in allowed]))


def _licensed(values: Any, allowed: list[str], source_licence: str) -> Check:
    """Check licences, comma-joined in each value: all of a file's must be allowed."""
    lowered = {licence.lower() for licence in allowed}
    values = _strings(values)
    values = np.where(values == "", source_licence, values)
    different, where = np.unique(values, return_inverse=True)  # few licences, many files
    passed = np.array([{part.strip().lower() for part in value.split(",")} <= lowered for value in different.tolist()], dtype=bool)
    return Check("code.licences", values, f"all of {', '.join(allowed)}", passed[where])


def _strings(values: Any) -> np.ndarray:
    """Return strings as a numpy array of them, None as the empty one."""
    return np.array(["" if value is None else value for value in np.asarray(values).tolist()], dtype=str)
