"""The technical report: a model's own numbers, section by section, the same for equal runs."""

from tasks.artifacts.manifest import Manifest
from tasks.openness.technical_report import technical_report
from tests.openness.small_release import SECTION, lineage

MODEL = {"family": "llama", "hidden_size": 96, "layers": 3, "context_tokens": 512, "sliding_window": None}
OPTIMIZER = {"peak_learning_rate": 0.006, "weight_decay": 0.1}
DETAILS = {
    "documents": {"sources": {"books": {"kind": "books", "role": "corpus", "documents_in": 1031, "documents_kept": 796, "removed": {"near_duplicate": 12}}}},
    "tokens": {"tokenizer": {"type": "trained bpe", "pieces": 2048, "sha256": "ab" * 32}},
    "scores": {
        "benchmarks": [{"suite": "zero_shot", "task": "piqa", "shots": 0, "metric": "acc_norm", "score": 48.4848, "stderr": 5.05, "items": 99, "chance": 50.0}],
        "harness": {"lm_eval": "0.4.13", "precision": "float32"}, "items": "the first 100",
    },
}  # fmt: skip
COUNTS = {
    "documents": {"documents_in": 1031, "documents_kept": 796, "characters_in": 2000, "characters_kept": 1500},
    "tokens": {"tokens": 7_648_931, "documents": 760, "held_out_tokens": 755_496}, "scores": {"bits_per_byte": 2.930258},
    "conversations": {"conversations": 2483, "trained_tokens": 73_250},
}  # fmt: skip


def filled() -> list[Manifest]:
    """Return the small release's manifests with the numbers that a real run's hold."""
    found = lineage()
    for number, one in enumerate(found):
        one.counts.update(COUNTS.get(one.kind, {}))
        one.details.update(DETAILS.get(one.kind, {}))
        if one.kind == "checkpoint":
            one.counts.update({"parameters": 487_584, "steps": 310 - 100 * number, "loss": 3.48})
            one.details.update({"stage_tokens": 61_440, "chunk_tokens": {"books": 512}})
            section = one.identity["section"]
            section["model"] = MODEL
            if "stage" in section:
                section["stage"] = {"batch_tokens": 2048, "optimizer_state": "keep"}
                section |= {
                    "optimizer": OPTIMIZER,
                    "schedule": {"form": "wsd", "warmup_steps": 20, "warmup_fraction": None},
                    "precision": "float32",
                }
                section |= {"seed": 7, "attention_across_documents": True, "anomalies": {"policy": "skip"}}
                one.identity["section"] = section
            else:
                section["sft"] = {"template": "tulu", "max_tokens": 160, "optimizer": OPTIMIZER, "schedule": {"form": "linear"}}
    return found


def test_the_report_says_the_manifests_numbers():
    report = technical_report(SECTION, "chat", filled())
    for said in (
        "# Technical report: Small-chat", "1,031 documents were read and 796 kept", "| books | books | 1,031 | 796 | near duplicate 12 |",
        "(trained bpe, 2,048 pieces)", "7,648,931 tokens of 760 documents", "with 487,584 parameters", "peak learning rate 0.006",
        "Schedule: form wsd, warmup steps 20.", "2,483 conversations under template `tulu`", "2.930 bits per byte",
        "| zero_shot | piqa | 0 | acc_norm | 48.48 | 5.05 | 99 | 50 |",
    ):  # fmt: skip
        assert said in report, said
    assert "{{" not in report and "None" not in report and "{%" not in report


def test_a_base_models_report_has_no_fine_tuning_and_counts_its_sections_through():
    manifests = [one for one in filled() if one.kind != "conversations" and "sft" not in one.identity["section"]]
    report = technical_report(SECTION, "base", manifests)
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## 1 Data", "## 2 Tokens", "## 3 Architecture", "## 4 Pre-training", "## 5 Evaluation", "## 6 Use and limits", "## 7 Making it again",
    ]  # fmt: skip
    assert "# Technical report: Small\n" in report and "follows no instructions" in report


def test_equal_runs_have_equal_reports():
    first, second = filled(), filled()
    second[0].recorded["finished"] = "2026-01-01T00:00:00Z"
    assert technical_report(SECTION, "chat", first) == technical_report(SECTION, "chat", second)
