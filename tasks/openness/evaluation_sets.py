"""A benchmark of lm-evaluation-harness to the Hub's data set behind it and that set's licence."""

SETS = {  # beginnings of task names; licences as the authors' own repositories state them
    "arc_": ("allenai/ai2_arc", "CC-BY-SA-4.0"),
    "hellaswag": ("Rowan/hellaswag", "MIT"),
    "piqa": ("baber/piqa", "AFL-3.0"),
    "winogrande": ("allenai/winogrande", "CC-BY"),  # its README gives no version
    "mmlu": ("cais/mmlu", "MIT"),
    "gsm8k": ("openai/gsm8k", "MIT"),
    "truthfulqa": ("truthfulqa/truthful_qa", "Apache-2.0"),
}


def evaluation_set(name: str) -> tuple[str, str]:
    """Return a task's (or a set's own) name on the Hub and its licence; of a task that is not listed, its own name and `unknown`."""
    return next((row for begin, row in SETS.items() if name.startswith(begin) or name == row[0]), (name, "unknown"))
