"""What the evaluation benchmark concludes from its contenders' rows."""

from benchmarks.evaluation import SUITE, compare


def contender(seconds: float, answers: list, score: float) -> dict:
    tasks = [{"task": "piqa", "shots": 0, "cpu_seconds": seconds, "scores": {"acc,none": score}, "answers": answers}]
    return {"cpu_seconds": seconds, "wall_seconds": seconds / 2, "peak_megabytes": 100.0, "tasks": tasks}


def test_ratio_and_the_largest_differences_are_those_of_the_rows():
    stock, ours = contender(30.0, [[-1.0, True], [-2.0, False]], 0.5), contender(10.0, [[-1.0, True], [-2.25, True]], 0.25)
    found = compare(stock, ours)
    assert (found["ratio"], found["wall_ratio"], found["answers"]) == (3.0, 3.0, 2)
    assert (found["largest_difference"], found["other_greedy"], found["largest_score_difference"]) == (0.25, 1, 0.25)


def test_the_suite_has_few_shot_prompts_with_and_without_examples_in_common():
    assert ["arc_challenge", 25] in SUITE and any(task.startswith("mmlu_") and shots == 5 for task, shots in SUITE)
