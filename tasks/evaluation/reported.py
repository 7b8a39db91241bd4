"""The scores that both reports printed, as data: what `reynard compare` sets our runs beside. Nothing in here was measured by us.

A column is a benchmark of lm-evaluation-harness with its shots, an average of such, or MT-Bench.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: a task with shots and metric; or the mean of `of`; or, with neither, what another tool scores."""

    title: str
    task: str = ""
    shots: int = 0
    metric: str = ""
    of: tuple["Column", ...] = ()
    unit: str = "%"


@dataclass(frozen=True)
class Table:
    """A report's table: its columns, and a value, or None, for each model and column."""

    source: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


ARC_25, HELLASWAG_10 = Column("ARC-C", "arc_challenge", 25, "acc_norm"), Column("HellaSwag", "hellaswag", 10, "acc_norm")
MMLU_5, WINOGRANDE_5 = Column("MMLU", "mmlu", 5, "acc"), Column("Winogrande", "winogrande", 5, "acc")
TRUTHFULQA, GSM8K_5 = Column("TruthfulQA", "truthfulqa_mc2", 0, "acc"), Column("GSM8K", "gsm8k", 5, "exact_match")
ZERO_SHOT = (
    Column("HellaSwag", "hellaswag", 0, "acc_norm"), Column("Winogrande", "winogrande", 0, "acc"), Column("PIQA", "piqa", 0, "acc_norm"),
    Column("ARC-E", "arc_easy", 0, "acc_norm"), Column("ARC-C", "arc_challenge", 0, "acc_norm"),
)  # fmt: skip
FEW_SHOT = (ARC_25, HELLASWAG_10, MMLU_5, WINOGRANDE_5)

TABLES = {
    "fox1-6": Table(
        "Fox-1 technical report, table 6: ARC 25-shot, HellaSwag 10, TruthfulQA 0, MMLU 5, Winogrande 5, GSM8K 5 (section 3)",
        (Column("Average", of=(ARC_25, HELLASWAG_10, MMLU_5, GSM8K_5, TRUTHFULQA, WINOGRANDE_5)), GSM8K_5, MMLU_5),
        (
            ("Fox-1-1.6B", (47.13, 36.39, 43.05)),
            ("Qwen-1.5-1.8B", (46.81, 34.04, 47.15)),
            ("Gemma-2B", (46.36, 17.06, 41.15)),
            ("StableLM-2-1.6B", (45.92, 17.74, 39.16)),
            ("OpenELM-1.1B", (38.28, 2.27, 27.28)),
        ),
    ),
    "moxin-2": Table(
        "Moxin 7B technical report, table 2, zero-shot (section 4.2.1)",
        (*ZERO_SHOT, Column("Average", of=ZERO_SHOT)),
        (
            ("Mistral-7B", (80.39, 73.4, 82.15, 78.28, 52.22, 73.29)),
            ("LLaMA 2-7B", (75.99, 69.06, 79.11, 74.54, 46.42, 69.02)),
            ("LLaMA 2-13B", (79.37, 72.22, 80.52, 77.4, 49.06, 71.71)),
            ("LLaMA 3.1-8B", (78.92, 74.19, 81.12, 81.06, 53.67, 73.79)),
            ("gemma-7b", (80.45, 73.72, 80.9, 79.97, 54.1, 73.83)),
            ("Qwen v2-7B", (78.9, 72.38, 79.98, 74.71, 50.09, 71.21)),
            ("internlm2.5-7b", (79.14, 77.9, 80.52, 76.16, 51.37, 73.02)),
            ("Baichuan2-7B", (72.25, 67.17, 77.26, 72.98, 42.15, 66.36)),
            ("Yi-1.5-9B", (77.86, 73.01, 80.74, 79.04, 55.03, 73.14)),
            ("deepseek-7B", (76.13, 69.77, 79.76, 71.04, 44.8, 68.3)),
            ("Moxin-7B-original", (72.06, 66.31, 78.07, 71.47, 48.15, 67.21)),
            ("Moxin-7B-finetuned", (80.03, 75.17, 82.24, 81.12, 58.64, 75.44)),
        ),
    ),
    "moxin-3": Table(
        "Moxin 7B technical report, table 3: ARC-C 25-shot, HellaSwag 10, MMLU 5, Winogrande 5 (section 4.2.2)",
        (*FEW_SHOT, Column("Average", of=FEW_SHOT)),
        (
            ("Mistral-7B", (57.59, 83.25, 62.42, 78.77, 70.51)),
            ("LLaMA 3.1-8B", (54.61, 81.95, 65.16, 77.35, 69.77)),
            ("LLaMA 3-8B", (55.46, 82.09, 65.29, 77.82, 70.17)),
            ("LLaMA 2-7B", (49.74, 78.94, 45.89, 74.27, 62.21)),
            ("Qwen 2-7B", (57.68, 80.76, 70.42, 77.43, 71.57)),
            ("gemma-7B", (56.48, 82.31, 63.02, 78.3, 70.03)),
            ("internlm2.5-7B", (54.78, 79.7, 68.17, 80.9, 70.89)),
            ("Baichuan2-7B", (47.87, 73.89, 54.13, 70.8, 61.67)),
            ("Yi-1.5-9B", (58.36, 80.36, 69.54, 77.53, 71.48)),
            ("Moxin-7B-original", (53.75, 75.46, 59.43, 70.32, 64.74)),
            ("Moxin-7B-finetuned", (59.47, 83.08, 60.97, 78.69, 70.55)),
        ),
    ),
    "moxin-4": Table(
        "Moxin 7B technical report, table 4: MT-Bench, judged by GPT-4 (section 4.3)",
        (Column("MT-Bench", unit="of 10"),),
        (
            ("Moxin-7B-chat", (6.42,)),
            ("Llama 2 13B Chat", (6.65,)),
            ("Vicuna 13B", (6.57,)),
            ("Llama 2 7B Chat", (6.27,)),
            ("Vicuna 7B", (6.17,)),
            ("Alpaca 13B", (4.53,)),
        ),
    ),
}
