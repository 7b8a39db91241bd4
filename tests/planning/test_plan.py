"""Plans of the two full recipes against numbers that their reports print, or that a reader can check by hand."""

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipes.errors import BadInput
from recipes.load import load_recipe
from recipes.schema import LoRA, Recipe
from tasks.model.flops import adapter_parameters, flops_per_token, multiplied_parameters
from tasks.planning.memory import activation_bytes, logit_bytes, state_bytes
from tasks.planning.plan import Assumptions, make_plan
from tasks.planning.text import plan_text, sparkline
from tasks.planning.traffic import communication_bytes

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
BILLION = 10**9


def plan_of(name: str, folder: Path, profile: str = "h100x64", **assumed) -> dict:
    return make_plan(load_recipe(RECIPES / f"{name}.yaml"), Assumptions(profile, **assumed), str(folder / "store"))


@pytest.fixture(scope="module")
def fox1(tmp_path_factory) -> dict:
    return plan_of("fox1", tmp_path_factory.mktemp("fox1"))


@pytest.fixture(scope="module")
def moxin7b(tmp_path_factory) -> dict:
    return plan_of("moxin7b", tmp_path_factory.mktemp("moxin7b"))


def edited(name: str, change) -> Recipe:
    values = copy.deepcopy(yaml.safe_load((RECIPES / f"{name}.yaml").read_text()))
    change(values)
    return Recipe.model_validate(values)


def by_source(stage: dict) -> dict[str, dict]:
    return {row["source"]: row for row in stage["sources"]}


# --- steps, tokens, sequences ----------------------------------------------------------------------------------------------------


def test_fox1_takes_the_steps_tokens_and_shares_of_its_report(fox1):
    assert fox1["parameters"] == 1_665_271_808
    assert [stage["steps"] for stage in fox1["stages"]] == [500_679, 376_701, 14_781]
    assert fox1["total"]["steps"] == 500_679 + 376_701 + 14_781 == 892_161
    # whole batches: 500,679 x 2,097,152 is 34 thousand tokens short of 1.05T
    assert [stage["tokens"] for stage in fox1["stages"]] == [500_679 * 2_097_152, 376_701 * 4_194_304, 14_781 * 4_194_304]
    assert [round(100 * stage["share"], 1) for stage in fox1["stages"]] == [39.0, 58.7, 2.3]  # 39 %, 59 % and, not 0.02 but, 2 %


def test_moxin_takes_the_steps_and_tokens_of_its_recipe(moxin7b):
    assert moxin7b["parameters"] == 8_114_180_096
    assert [stage["steps"] for stage in moxin7b["stages"]] == [238_418, 119_209, 10]
    assert moxin7b["total"]["tokens"] == 357_637 * 4_194_304 and moxin7b["total"]["tokens"] > 1500 * BILLION


def test_every_token_of_a_stage_is_in_one_sequence_and_comes_from_one_source(fox1, moxin7b):
    for stage in [*fox1["stages"], *moxin7b["stages"]]:
        assert sum(row["chunk_tokens"] * row["sequences"] for row in stage["sequences"]) == stage["tokens"]
        assert sum(row["tokens"] for row in stage["sources"]) == stage["tokens"]
    assert [[row["chunk_tokens"] for row in stage["sequences"]] for stage in fox1["stages"]] == [[2048], [4096, 8192], [4096, 8192]]


def test_fox1s_sources_are_used_in_the_proportions_of_tables_2_and_3(fox1):
    second, third = by_source(fox1["stages"][1]), by_source(fox1["stages"][2])
    # table 2: The Stack 375.98 B, C4 169.75 B, NIH ExPorter 720.67 M of rows that sum to 2,399.16 B; 1.58T is trained
    for source, tokens in (("the_stack", 375.98), ("c4", 169.75), ("books", 24.91), ("nih_exporter", 0.72067)):
        assert second[source]["tokens"] == pytest.approx(tokens / 2399.16 * 1580 * BILLION, rel=1e-4), source
    common_crawl = sum(row["tokens"] for source, row in second.items() if source.endswith("_cc"))
    assert common_crawl == pytest.approx(1470 / 2399.16 * 1580 * BILLION, rel=1e-4)
    # table 3: instruction 34.07 %, The Stack 17.78 %, flan 14.63 %, algebraic-stack 11.83 %
    for source, percent in (("instruction", 34.07), ("the_stack", 17.78), ("flan", 14.63), ("algebraic_stack", 11.83)):
        assert 100 * third[source]["tokens"] / fox1["stages"][2]["tokens"] == pytest.approx(percent, abs=0.01), source


def test_epochs_count_the_portion_that_a_stage_may_draw_from(fox1):
    # dolma_cc is expected to have 1,761.1 B; 0.01 % is held out; stage 1 takes 733.8 B from its first half
    first = by_source(fox1["stages"][0])["dolma_cc"]
    assert first["portion"] == [0.0, 0.5] and first["available"] == pytest.approx(1761.1 / 2 * 0.9999 * BILLION)
    assert first["epochs"] == pytest.approx(733.8 / (1761.1 / 2 * 0.9999), rel=1e-6) and round(first["epochs"], 2) == 0.83
    # stage 2 takes 1.58T of the 2.40T of table 2: every source that it may use whole is used 0.66 times
    assert {round(row["epochs"], 2) for row in fox1["stages"][1]["sources"] if row["portion"] is None} == {0.66}
    assert fox1["warnings"] == []


def test_moxins_third_phase_goes_not_quite_three_times_through_the_benchmark_training_sets(moxin7b):
    assert all(2.7 < row["epochs"] < 2.9 for row in moxin7b["stages"][2]["sources"])


# --- learning rate -----------------------------------------------------------------------------------------------------------------


def test_fox1s_learning_rate_ends_at_53_percent_of_the_peak(fox1):
    assert [stage["last_learning_rate"] for stage in fox1["stages"][:2]] == [4.0e-4, 4.0e-4]
    assert fox1["stages"][2]["last_learning_rate"] / 4.0e-4 == pytest.approx(0.5 ** (14_780 / 16_000))
    assert "stage3 2.11e-4 (53 %)" in plan_text(fox1) and fox1["learning_rate"]["warmup_steps"] == 2000


def test_moxins_learning_rate_ends_at_a_tenth(moxin7b):
    assert moxin7b["learning_rate"]["points"][-1] == [357_637, pytest.approx(2.0e-7)]
    steps = [step for step, _ in moxin7b["learning_rate"]["points"]]
    assert 2000 in steps and 238_419 in steps and len(steps) <= 253  # the peak, a stage's first step, and not too dense to draw


def test_a_sparkline_goes_from_the_lowest_block_to_the_highest():
    assert sparkline([[1, 0.0], [2, 0.5], [3, 1.0]], 3) == "▁▅█"


# --- FLOPs, time, money ------------------------------------------------------------------------------------------------------------


def test_flops_per_token_follow_the_usual_convention():
    fox1, moxin7b = (load_recipe(RECIPES / f"{name}.yaml").model for name in ("fox1", "moxin7b"))
    # 6 x 1,665,271,808 + 12 x 32 layers x 16 heads x 128 x 2048
    assert flops_per_token(fox1, 2048) == 9_991_630_848 + 1_610_612_736
    assert [round(flops_per_token(fox1, length) / 1e9, 2) for length in (2048, 4096, 8192)] == [11.60, 13.21, 16.43]
    assert multiplied_parameters(moxin7b) == 8_114_180_096 - 32_000 * 4096
    assert round(flops_per_token(moxin7b, 4096) / 1e9, 1) == 55.1
    assert flops_per_token(moxin7b, 8192) == flops_per_token(moxin7b, 4096)  # a window of 4096 is all that a token sees


def test_adapters_alone_have_gradients_of_weights():
    fox1 = load_recipe(RECIPES / "fox1.yaml").model
    rule = LoRA(rank=16, alpha=32.0, dropout=0.0, targets=["q_proj", "v_proj"])
    # 32 layers x 16 x (2048 + 2048 of queries, 2048 + 512 of values); 4 x (1,665,271,808 + A) + 2 x A, and the same attention
    assert adapter_parameters(fox1, rule) == 32 * 16 * (4096 + 2560)
    assert flops_per_token(fox1, 2048, rule) == 4 * 1_665_271_808 + 6 * 3_407_872 + 1_610_612_736


def test_a_stages_flops_are_the_mean_over_its_tokens(fox1):
    at_4k, at_8k = (row["chunk_tokens"] * row["sequences"] for row in fox1["stages"][1]["sequences"])
    mean = (13_212_856_320 * at_4k + 16_434_081_792 * at_8k) / (at_4k + at_8k)
    assert fox1["stages"][1]["flops_per_token"] == pytest.approx(mean) and round(mean / 1e9, 2) == 13.34


def test_time_and_money_follow_from_utilisation_and_price(fox1):
    first = fox1["stages"][0]
    assert round(first["tokens_per_second"] / 64, -2) == 34_100  # 40 % of 989 TFLOP/s at 11.60 GFLOP
    hours = 1.05e12 / 34_100 / 3600
    assert first["gpu_hours"] == pytest.approx(hours, rel=1e-3) and first["seconds"] == pytest.approx(hours / 64 * 3600, rel=1e-3)
    assert first["cost"] == first["gpu_hours"] * 2.5
    assert fox1["total"]["gpu_hours"] == pytest.approx(sum(stage["gpu_hours"] for stage in fox1["stages"]))


def test_twice_the_utilisation_is_half_the_time_on_any_number_of_gpus(fox1, tmp_path):
    faster = plan_of("fox1", tmp_path, mfu=0.8, price=1.0)
    assert faster["total"]["seconds"] == pytest.approx(fox1["total"]["seconds"] / 2)
    assert faster["total"]["cost"] == pytest.approx(fox1["total"]["cost"] / 5)
    smaller = plan_of("fox1", tmp_path, "h100x8")
    assert smaller["total"]["gpu_hours"] == pytest.approx(fox1["total"]["gpu_hours"])
    assert smaller["total"]["seconds"] == pytest.approx(8 * fox1["total"]["seconds"])
    assert [warning for warning in faster["warnings"] if "0.40 to 0.48" in warning]


def test_without_a_gpu_time_is_planned_from_a_measured_rate_alone(tmp_path):
    plan = plan_of("tiny", tmp_path, "local")
    assert plan["total"]["seconds"] is None and "time and money cannot be planned without a GPU profile" in plan_text(plan)
    measured = plan_of("tiny", tmp_path, "local", tokens_per_second=4200.0)
    assert measured["total"]["tokens"] == 419_840 and measured["total"]["seconds"] == pytest.approx(419_840 / 4200)
    assert measured["total"]["cost"] is None and "1m40s" in plan_text(measured)


def test_fine_tuning_is_planned_where_its_tokens_are_given(fox1, moxin7b):
    assert fox1["sft"]["tokens"] == 5 * BILLION and fox1["sft"]["gpu_hours"] == pytest.approx(57.7, abs=0.1)
    assert moxin7b["sft"]["tokens"] is None and "2 epochs; its tokens are known once" in plan_text(moxin7b)


# --- memory ------------------------------------------------------------------------------------------------------------------------


def test_states_on_one_gpu_are_those_of_the_zero_paper_with_float32_gradient_sums():
    alone = state_bytes(1_665_271_808, 1, 1, "bfloat16")
    assert alone["state"] == 18 * 1_665_271_808  # 2 + 4 + 12: 30 GB, and 26.6 with the paper's bfloat16 gradients
    divided = [state_bytes(8 * BILLION, stage, 8, "bfloat16")["state"] / BILLION for stage in (0, 1, 2, 3)]
    assert divided == [144, 16 + 32 + 12, 16 + 4 + 12, 2 + 4 + 12]


def test_activations_are_close_to_megatrons_formula_for_a_block_of_its_shape():
    model = load_recipe(RECIPES / "fox1.yaml").model
    ours = activation_bytes(model, 1, "bfloat16") / model.layers
    assert ours == 16 * 2048 + 4 * 2048 + 4 * 512 + 8 * 4096
    assert ours == pytest.approx(34 * 2048, rel=0.1)  # another block: half the MLP's width, three matrices, norms in float32


def test_logits_are_those_of_one_chunk_of_the_loss_beside_the_output_matrixs_gradient():
    from tasks.model import loss
    from tasks.planning import memory

    assert memory.LOSS_CHUNK_BYTES == loss.CHUNK_BYTES and loss.chunk_rows(256_000) == 1024
    model = load_recipe(RECIPES / "fox1.yaml").model
    assert logit_bytes(model, 16_384, "bfloat16") == 8 * 1024 * 256_000 + 4 * 2048 * (256_000 + 16_384)


def test_fox1_fits_with_zero_1_and_moxin_is_told_what_fits(fox1, moxin7b):
    sizes = [column["micro_batch_tokens"] for column in fox1["memory"]["columns"]]
    assert sizes == [8192, 16_384, 32_768] and fox1["memory"]["rows"][1]["fits"] == [True, True, False]
    (warning,) = moxin7b["warnings"]
    assert "ZeRO 1 with 16,384 tokens at once takes about 188 GB" in warning and "what fits is ZeRO 2 at 4,096" in warning


def test_a_micro_batch_is_made_of_whole_units(tmp_path):
    assert plan_of("fox1", tmp_path, micro_batch_tokens=1000)["memory"]["micro_batch_tokens"] == 8192


# --- communication -----------------------------------------------------------------------------------------------------------------


def test_a_step_sends_its_gradients_twice_and_its_weights_once_around_the_ring():
    assert communication_bytes(1000, 1, 8, 16, "bfloat16") == 7 / 8 * 2 * 1000 * (2 + 1)  # once a step, whatever the accumulation
    assert communication_bytes(1000, 2, 8, 16, "bfloat16") == 7 / 8 * 2 * 1000 * (16 * 2 + 1)  # in every micro-batch
    assert communication_bytes(1000, 1, 2, 1, "float32") == 1 / 2 * 4 * 1000 * 3 and communication_bytes(1000, 1, 1, 1, "float32") == 0


def test_communication_is_shown_beside_computing_for_every_stage(fox1, tmp_path):
    traffic = fox1["traffic"]
    assert traffic["bytes_per_second"] == 8 * 50e9 and traffic["machines"] == 8  # eight links of 400 Gb/s from machine to machine
    first = traffic["rows"][0]
    assert first["micro_batches"] == 2_097_152 // 64 // 16_384 and first["compute_seconds"] == pytest.approx(
        2_097_152 / 64 / 34_100, rel=1e-3
    )
    assert [one["bytes"] for one in first["zero"]] == [63 / 64 * 2 * 1_665_271_808 * times for times in (3, 5)]
    assert first["zero"][0]["seconds"] == first["zero"][0]["bytes"] / 400e9
    assert "communication: a step's computing" in plan_text(fox1) and "between 8 machines at 400 GB/s" in plan_text(fox1)
    assert plan_of("fox1", tmp_path, "h100x8")["traffic"]["bytes_per_second"] == 450e9  # NVLink, one direction
    assert plan_of("tiny", tmp_path, "local")["traffic"] is None


# --- storage -----------------------------------------------------------------------------------------------------------------------


def test_tokens_take_two_bytes_up_to_65536_ids_and_four_beyond(fox1, moxin7b):
    assert (fox1["storage"]["bytes_per_token"], moxin7b["storage"]["bytes_per_token"]) == (4, 2)
    assert fox1["storage"]["corpus_bytes"] == 4 * fox1["storage"]["corpus_tokens"]


def test_checkpoints_are_counted_as_they_are_written(fox1, moxin7b):
    storage = fox1["storage"]
    assert storage["checkpoint_bytes"] == 12 * 1_665_271_808 and round(storage["checkpoint_bytes_with_working_copy"] / BILLION, 1) == 23.3
    # every 2,000 steps inside a stage: 250 + 188 + 7; 10 + 16 for publication; and the end of each stage and of fine-tuning
    assert storage["checkpoints_inside_stages"] == {"stage1": 250 + 10, "stage2": 188 + 16, "stage3": 7}
    assert storage["checkpoints_written"] == 471 + 4 and storage["checkpoints_kept"] == 4
    assert round(moxin7b["storage"]["checkpoint_bytes_with_working_copy"] / BILLION, 1) == 113.6


def test_published_checkpoints_take_four_bytes_a_parameter_and_the_newest_are_as_many_as_the_recipe_keeps(tmp_path):
    def storage(**changes) -> dict:
        recipe = edited("fox1", lambda values: values["pretraining"].update(changes))
        return make_plan(recipe, Assumptions("h100x64"), str(tmp_path))["storage"]

    few, many = storage(publish_every_tokens=None, keep_checkpoints=2), storage(publish_every_tokens=10**11, keep_checkpoints=5)
    parameters = 1_665_271_808
    assert (few["checkpoints_published"], few["published_bytes"], few["checkpoints_written"]) == (0, 0, 449)
    assert (many["checkpoints_published"], many["published_bytes"]) == (26, 26 * 4 * parameters)
    # the third stage stands on the ends of two, keeps its newest and writes one more; fine-tuning on the ends of three, with two and one
    assert few["checkpoints_at_peak"] == 6 and few["peak_bytes"] == 6 * 12 * parameters
    assert many["checkpoints_at_peak"] == 8 and many["peak_bytes"] == 8 * 12 * parameters + 26 * 4 * parameters


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 30), st.integers(1, 400))
def test_a_plan_publishes_what_the_engine_publishes(first_steps, steps, batch, every):
    from types import SimpleNamespace

    from tasks.engine.job import Job
    from tasks.planning.storage import published_steps

    recipe = SimpleNamespace(pretraining=SimpleNamespace(publish_every_tokens=every))
    stages = [{"steps": count, "tokens": count * batch, "batch_tokens": batch} for count in (first_steps, steps)]
    job = Job.__new__(Job)
    job.__dict__.update(publish_every_tokens=every, first_step=first_steps, first_token=first_steps * batch, tokens_per_step=batch)
    assert published_steps(recipe, stages, 1) == [step for step in range(1, steps) if job.publishes(first_steps + step)]
    tokens = [(first_steps + step) * batch for step in range(steps + 1)]
    assert sum(map(job.publishes, range(first_steps + 1, first_steps + steps + 1))) == len(
        {multiple for end in tokens[1:] if (multiple := end // every) > tokens[0] // every}
    )


def test_a_checkpoint_takes_the_bytes_that_the_engine_writes():
    from tasks.engine.checkpoint import MOMENTS
    from tasks.planning.storage import CHECKPOINT_BYTES

    assert 4 * (1 + len(MOMENTS)) == CHECKPOINT_BYTES  # float32 weights and moments


# --- warnings and bad input --------------------------------------------------------------------------------------------------------


def test_a_source_that_is_too_small_is_a_warning(tmp_path):
    recipe = edited("fox1", lambda values: values["expected_tokens"].update(flan=1_000_000_000))
    (warning,) = make_plan(recipe, Assumptions("h100x64"), str(tmp_path))["warnings"]
    # 62B x 15.47 / 105.71 = 9.07 B from 0.9999 B
    assert warning.startswith("stage 'stage3' takes 9,07") and "'flan'" in warning and "9.07 epochs, and max_epochs is 1" in warning


def test_sources_of_unknown_size_have_no_epochs_and_the_plan_says_how_to_get_them(tmp_path):
    plan = make_plan(edited("fox1", lambda values: values.pop("expected_tokens")), Assumptions("h100x64"), str(tmp_path))
    assert {row["epochs"] for row in plan["sources"]} == {None} and plan["storage"]["corpus_bytes"] is None and plan["warnings"] == []
    assert "?" in plan_text(plan) and "reynard run --workflow data" in plan_text(plan)


def test_expected_tokens_of_a_source_that_does_not_exist_are_refused():
    with pytest.raises(BadInput, match="expected_tokens names 'flam', which is not among the corpus"):
        edited("fox1", lambda values: values["expected_tokens"].update(flam=1))


def test_a_batch_that_the_profile_cannot_share_is_a_warning(tmp_path):
    def halve(values):  # 32 units of 8,192 for 64 GPUs
        values["pretraining"]["stages"][2]["batch_tokens"] = 262_144

    warnings = make_plan(edited("fox1", halve), Assumptions("h100x64"), str(tmp_path))["warnings"]
    assert warnings == ["stage 'stage3': a batch is 32 units, which 64 workers cannot share equally"]


@pytest.mark.parametrize(
    ("assumed", "sentence"),
    [
        ({"profile": "h100x12"}, "cluster profile 'h100x12' does not exist: set REYNARD_PROFILE to local, smoke, or h100xN for N H100s"),
        ({"mfu": 0.0}, r"mfu 0 is not in \(0, 1\]"),
        ({"mfu": 40.0}, r"mfu 40 is not in \(0, 1\]"),
        ({"mfu": float("nan")}, r"mfu nan is not in \(0, 1\]"),
        ({"price": -1.0}, "price -1 is not a price"),
        ({"micro_batch_tokens": -1}, "micro-batch-tokens -1 is negative"),
        ({"tokens_per_second": float("inf")}, "tokens-per-second inf is not a rate"),
    ],
)
def test_an_assumption_that_cannot_be_meant_is_refused(tmp_path, assumed, sentence):
    with pytest.raises(BadInput, match=sentence):
        make_plan(load_recipe(RECIPES / "tiny.yaml"), Assumptions(**{"profile": "h100x8"} | assumed), str(tmp_path))


@pytest.mark.parametrize("name", ["fox1", "moxin7b", "tiny"])
def test_a_plan_fits_into_100_columns(name, tmp_path):
    wide = [line for line in plan_text(plan_of(name, tmp_path)).splitlines() if len(line) > 100]
    assert wide == []
