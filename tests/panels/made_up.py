"""Made-up manifests whose numbers a reader can add up in the head."""

from typing import Any

from tasks.artifacts.manifest import Manifest

EVIL = '<script>alert("x")</script> & \x07'


def manifest(counts: dict[str, Any], details: dict[str, Any], kind: str = "made-up", seconds: float = 61.0) -> Manifest:
    """Make a manifest that holds nothing but counts and details."""
    return Manifest(
        kind=kind,
        name=kind,
        version="0" * 16,
        digest="a" * 64,
        identity={},
        files=[],
        counts=counts,
        details=details,
        recorded={"seconds": seconds},
        records=[],
    )


def documents() -> Manifest:
    """1,500 documents of two sources, of which 1,200 stay: 100 too short, 150 copies, 50 unreadable; 700 more are a reference."""
    sources = {
        "speeches": {
            "kind": "speeches", "rules": "prose", "role": "corpus", "licence": "public domain",
            "documents_in": 1000, "documents_kept": 900, "characters_in": 50_000, "characters_kept": 45_000,
            "bytes_kept": 46_000, "tokens_estimated": 11_500, "skipped": 25,
            "removed": {"unreadable": 50, "too_short": 50}, "removed_characters": {"unreadable": 0, "too_short": 4_000},
            "edits": {"masked_email": 7, "lines_removed": 40},
        },
        "plays": {
            "kind": "plays", "rules": "prose", "role": "corpus", "licence": EVIL,
            "documents_in": 500, "documents_kept": 300, "characters_in": 30_000, "characters_kept": 15_000,
            "bytes_kept": 15_000, "tokens_estimated": 3_500, "skipped": 0,
            "removed": {"too_short": 50, "near_duplicate": 150}, "removed_characters": {"too_short": 1_000, "near_duplicate": 14_000},
            "edits": {"lines_removed": 2},
        },
        "earlier_corpus": {
            "kind": "books", "rules": "prose", "role": "reference", "licence": "CC0", "documents_in": 700, "documents_kept": 0,
            "characters_in": 70_000, "characters_kept": 0, "removed": {}, "edits": {},
        },
    }  # fmt: skip
    details = {
        "reasons": ["unreadable", "too_short", "near_duplicate"],
        "sources": sources,
        "across_sources": [["plays", "speeches", 140], ["plays", "plays", 10]],
        "examples": {
            "near_duplicate": [
                {"id": "p1", "source": "plays", "raw": "plays.txt#9", "text": f"To be or not {EVIL}", "duplicate_of": "s1", "similarity": 0.913}
            ],
            "too_short": [{"id": "p2", "source": "plays", "raw": "", "text": "Exit.", "duplicate_of": "", "similarity": float("nan")}],
        },
        "clusters": {"edges": [2, 3, 5, 9, 17, 2**31], "counts": [60, 20, 5, 0, 0], "largest": 8, "documents": 235},
        "similarity": {
            "edges": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "removed": [0, 0, 0, 0, 150], "rejected": [0, 0, 10, 40, 0], "thresholds": {EVIL: 0.8},
        },
        "quality": {
            "edges": [0.0, 0.5, 1.0], "kept": [7, 1193], "removed": [99, 1], "threshold": 0.43, "keep_fraction": 0.1, "model": "oh_eli5",
            "trained_on": {"positive": 1000, "negative": 900},
        },
        "languages": [
            {"language": "de", "documents": 300, "kept": 0, "characters": 20_000},
            {"language": "en", "documents": 1200, "kept": 1200, "characters": 60_000},
        ],
        "bloom": {"documents": {"capacity": 10_000, "added": 2_000, "false_positive_rate": 1e-3, "bytes": 18_000, "false_positives": 1}},
        "work": {"units": 12, "quarantined": [{"address": "plays.txt#13", "why": f"segmentation fault {EVIL}"}]},
    }  # fmt: skip
    counts = {"documents_in": 1500, "documents_kept": 1200, "characters_in": 80_000, "characters_kept": 60_000}
    return manifest(counts, details)


def tokens() -> Manifest:
    """9,000 training and 1,000 held-out tokens of 40,000 bytes: a quarter of a token per byte."""
    sources = {
        "speeches": {
            "documents": 90, "tokens": 9000, "held_out_documents": 10, "held_out_tokens": 1000, "bytes": 40_000,
            "longer_than": {"2048": 20, "4096": 5, "8192": 0},
            "length_histogram": {"edges": [0, 64, 128, 2048], "counts": [20, 80, 0]},
        },
        "nothing": {
            "documents": 0, "tokens": 0, "held_out_documents": 0, "held_out_tokens": 0, "bytes": 0,
            "length_histogram": {"edges": [0, 64, 128, 2048], "counts": [0, 0, 0]},
        },
    }  # fmt: skip
    tokenizer = {"type": "trained bpe", "pieces": 2048, "sha256": "c0ffee" * 10, "licence": "public domain"}
    counts = {"tokens": 9000, "held_out_tokens": 1000, "vocabulary_size": 2048, "documents": 90}
    return manifest(counts, {"sources": sources, "tokenizer": tokenizer})


def stage(name: str, first: int, steps: int, begins: float, ends: float, mixture: dict[str, int]) -> tuple[Manifest, list[dict[str, Any]]]:
    """Train `steps` steps after step `first`, the loss falling in a straight line."""
    rows = [
        {
            "step": first + 1 + index, "loss": begins + (ends - begins) * index / max(steps - 1, 1), "learning_rate": 4e-4,
            "gradient_norm": 0.5, "tokens_per_second": 12_500.0, "time": 1.0e9 + index,
        }
        for index in range(steps)
    ]  # fmt: skip
    size = sum(mixture.values())
    counts = {"stage": name, "steps": first + steps, "tokens": 10 * size, "parameters": 487_584, "loss": ends}
    details = {
        "mixture": mixture, "chunk_tokens": dict(zip(mixture, (128, 256), strict=False)), "batch_tokens": 1024, "first_step": first,
        "stage_steps": steps, "stage_tokens": size,
    }  # fmt: skip
    return manifest(counts, details), rows


def scored(name: str, score: float, reported: float | None) -> Manifest:
    """Score a checkpoint on one benchmark and one held-out source."""
    benchmark = {
        "suite": "zero_shot", "task": "arc_easy", "shots": 25, "metric": "acc_norm", "score": score, "stderr": 4.1, "items": 99,
        "chance": 25.0, "reported": reported,
    }  # fmt: skip
    held_out = {"speeches": {"bits_per_byte": 2.125, "tokens": 1000, "bytes": 4000}}
    counts = {"checkpoint": name, "scores": {"zero_shot/arc_easy": score}, "bits_per_byte": 2.125}
    return manifest(counts, {"benchmarks": [benchmark], "held_out": held_out})


def released(*checks: tuple[str, bool, str]) -> Manifest:
    """Release a model that was checked."""
    details = {
        "checks": [{"name": name, "passed": passed, "detail": detail} for name, passed, detail in checks],
        "files": ["config.json", "model.safetensors"],
        "logit_difference": 8.6e-06,
    }
    return manifest({"repository": "tiny-chat", "folder": "release/chat"}, details)
