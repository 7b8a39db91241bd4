"""Facts of a release in which nothing is wrong, for tests that change one of them."""

from dataclasses import replace

from tasks.release.facts import Declared, Evidence, Facts, Loaded

LOADED = Loaded(
    trainer_difference=3e-6, trainer_largest=20.0, decoder_difference=2e-6,
    prompts=[{"text": "a", "ids": [1, 5], "expected_ids": [1, 5], "output_ids": [7, 8, 2], "expected_output_ids": [7, 8], "output": "x", "leads": [1.0, 0.5]}],
    missing_weights=[], unexpected_weights=[], parameters=1000, ids={"bos": [1, 1, 1], "eos": [2, 2, 2], "pad": [3, 3, 3]}, tokenizer_size=64,
    embedding_rows=64, config_vocabulary=64, stops={"2": True}, has_chat_template=True, conversations=8, different_conversations=[],
    declared_dtype="float32", dtypes=["F32"], config_tied=True, loaded_tied=True, files_have_head=False,
)  # fmt: skip
EVIDENCE = Evidence(
    checkpoint="c" * 64, scored_checkpoint="c" * 64, unscored=[], scores={"zero_shot/piqa": 51.0, "zero_shot/arc_easy": 30.0},
    thresholds={"zero_shot/piqa": 50.0, "only_of_the_base/mmlu": 90.0}, unknown_licences=[], claimed_class="III", computed_class="II", lacking=[],
)  # fmt: skip
GOOD = Facts(
    Declared(is_chat=True, parameters=1000, tied=True, precision="float32"), ["model.safetensors", "config.json"], "", LOADED, EVIDENCE
)


def changed(**values) -> Facts:
    """Return the good facts with some replaced: what was loaded, what speaks for it, what was declared, or the facts themselves."""
    facts = GOOD
    for name, value in values.items():
        parts = [part for part in ("loaded", "evidence", "declared") if hasattr(getattr(facts, part), name)]
        change = {parts[0]: replace(getattr(facts, parts[0]), **{name: value})} if parts else {name: value}
        facts = replace(facts, **change)
    return facts
