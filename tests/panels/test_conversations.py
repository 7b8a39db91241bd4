"""The panel of conversations: what was left out and why, how long they are, and one as it is trained on."""

from tasks.artifacts.manifest import Manifest
from tasks.panels.conversations import conversations

EDGES = [0, 64, 128, 256]


def made_up(**details) -> Manifest:
    source = {
        "conversations": 90, "tokens": 9_000, "trained_tokens": 4_500, "cut": 2, "reasons": {"rows": 100, "kept": 90},
        "length_histogram": {"edges": EDGES, "counts": [30, 60, 0]},
    }  # fmt: skip
    counts = {"conversations": 90, "tokens": 9_000, "trained_tokens": 4_500, "cut": 2, "rows": 100, "dropped": 10}
    told = {"template": "tulu", "max_tokens": 128, "sources": {"own": source}, "reasons": {"rows": 100, "kept": 90}} | details
    return Manifest(
        kind="conversations", name="conversations", version="v", digest="d", identity={}, files=[], counts=counts, details=told, recorded={},
        records=[],
    )  # fmt: skip


def test_the_lead_says_how_much_is_trained_on_and_what_was_cut_and_left_out():
    shown = conversations(made_up())
    assert "90 conversations of 9,000 tokens, 50.0 % of them trained on" in shown
    assert "2 were cut at 128 tokens, and 10 of 100 rows left out" in shown


def test_reasons_are_written_out_and_rows_that_were_kept_are_none():
    shown = conversations(made_up(reasons={"rows": 100, "kept": 90, "names_other_assistant": 8, "wrong_order": 2}))
    assert "the assistant names another one" in shown and "wrong order" in shown and "kept" not in shown
    assert "Rows left out" not in conversations(made_up())


def test_what_is_trained_on_is_marked_and_foreign_text_is_escaped():
    parts = [["<|user|>\n<b>hi</b>\n", False], ["<script>x</script></s>", True]]
    shown = conversations(made_up(example={"parts": parts}))
    assert "<script>" not in shown and "<b>" not in shown
    marked = shown.split("<mark")[1].split("</mark>")[0]
    assert marked.endswith("&lt;script&gt;x&lt;/script&gt;&lt;/s&gt;") and "hi" not in marked


def test_a_manifest_without_details_is_no_error():
    assert "Conversations" in conversations(made_up().model_copy(update={"details": {}, "counts": {}}))
