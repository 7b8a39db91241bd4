"""The end of a run on a terminal: every number a person wants, in at most 100 columns."""

from tasks.reporting.summary import summary_text

SUMMARY = {
    "run": "tiny", "recipe": "tiny", "wall_seconds": 252.1,
    "documents": {"in": 1000, "kept": 800, "removed": {"too_short": 50, "near_duplicate": 150}},
    "tokens_per_source": {"plays": 250_000, "speeches": 750_000},
    "stages": [
        {"stage": "stage1", "steps": 400, "tokens": 409_600, "first_loss": 7.9218, "loss": 5.0170, "seconds": 58.3},
        {"stage": "sft", "steps": 310, "tokens": 311_860, "first_loss": 4.85, "loss": 3.2228, "seconds": 187.0},
    ],
    "scores": {"chat": {"zero_shot/piqa": 46.4646}, "base": {"zero_shot/piqa": 49.4949, "zero_shot/arc_easy": 21.2121}},
    "bits_per_byte": {"base": 2.6347, "chat": 3.3463},
    "digests": {"documents": "ab" * 32, "tokens": "cd" * 32},
    "locations": {
        "run": "runs/tiny", "report": "runs/tiny/report.html", "store": "runs/tiny/store", "release_base": "runs/tiny/release/base",
        "release_chat": "runs/tiny/release/chat", "mlflow": "sqlite:///runs/tiny/mlflow.db",
    },
}  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """Return the words of every line."""
    return [line.split() for line in text.splitlines()]


def test_it_says_what_was_kept_and_what_was_dropped_most_first():
    text = summary_text(SUMMARY)
    assert ["kept", "800", "80.0", "%"] in rows(text)
    assert ["dropped,", "too", "short", "50", "5.0", "%"] in rows(text)
    assert text.index("near duplicate") < text.index("too short")


def test_it_shows_tokens_loss_and_time_of_each_stage():
    assert ["stage1", "400", "409,600", "7.922", "5.017", "58s"] in rows(summary_text(SUMMARY))
    assert ["sft", "310", "311,860", "4.850", "3.223", "3m07s"] in rows(summary_text(SUMMARY))
    assert ["speeches", "750,000", "75.0", "%"] in rows(summary_text(SUMMARY))


def test_scores_stand_in_a_column_for_each_checkpoint_base_first():
    found = rows(summary_text(SUMMARY))
    assert ["Scores,", "%", "base", "chat"] in found
    assert ["zero_shot/piqa", "49.5", "46.5"] in found
    assert ["zero_shot/arc_easy", "21.2", "–"] in found
    assert any(row[-2:] == ["2.635", "3.346"] for row in found)


def test_it_says_where_things_are_and_how_to_chat():
    text = summary_text(SUMMARY)
    for place in ("runs/tiny/report.html", "sqlite:///runs/tiny/mlflow.db", "runs/tiny/release/base", "abababababab"):
        assert place in text
    assert "reynard chat runs/tiny/release/chat" in text
    assert "finished in 4m12s" in text


def test_columns_are_aligned():
    lines = summary_text(SUMMARY).splitlines()
    head = next(line for line in lines if line.startswith("Training"))
    row = next(line for line in lines if line.strip().startswith("stage1"))
    for name, value in (("steps", "400"), ("tokens", "409,600"), ("first loss", "7.922"), ("last loss", "5.017")):
        assert head.index(name) + len(name) == row.index(value) + len(value)


def test_no_line_is_wider_than_100_columns_but_paths_stay_whole():
    long = "a_source_with_a_name_that_never_ends_" * 4
    path = "/somewhere/" + "deep/" * 30 + "release/chat"
    wide = SUMMARY | {
        "run": long,
        "tokens_per_source": {long: 10**15},
        "scores": {f"checkpoint-{long}-{number}": {long: 50.0} for number in range(4)},
        "digests": {long + str(number): "ab" * 32 for number in range(7)},
        "locations": {"release_chat": path},
    }
    lines = summary_text(wide).splitlines()
    assert [line for line in lines if len(line) > 100 and path not in line] == []
    assert any(line.endswith(path) for line in lines)


def test_a_path_with_a_space_is_quoted_in_the_command():
    assert "reynard chat 'my runs/chat'" in summary_text(SUMMARY | {"locations": {"release_chat": "my runs/chat"}})


def test_an_empty_or_broken_summary_is_still_written():
    assert "finished" in summary_text({})
    empty = {"documents": {"in": 0, "kept": 0, "removed": {}}, "stages": [{"stage": "s", "loss": None, "seconds": float("nan")}]}
    text = summary_text(empty | {"scores": {"base": {}}, "bits_per_byte": {"base": None}})
    assert ["kept", "0", "–"] in rows(text) and ["s", "–", "–", "–", "–", "–"] in rows(text)
