"""The committed sample of benchmark items: which of the harness's tasks it can serve, and the bytes it consists of.

It is a table in code, so that the stage's code digest covers the items: other items, other scores. How the items were chosen,
their origin and licences: `items/ATTRIBUTION.md`.
"""

from dataclasses import dataclass
from pathlib import Path

ITEMS = Path(__file__).resolve().parent / "items"


@dataclass(frozen=True)
class Sampled:
    """A task's part of the sample: the harness's folder that defines it, the items it scores, and the most shots it allows.

    Few-shot examples are drawn from a whole training split, which a sample does not have; MMLU's are its five development items.
    """

    definition: str
    split: str
    items: int
    shots: int


SAMPLE: dict[str, Sampled] = {
    "arc_easy": Sampled("arc", "allenai/ai2_arc/ARC-Easy/test.jsonl", 99, 0),
    "arc_challenge": Sampled("arc", "allenai/ai2_arc/ARC-Challenge/test.jsonl", 99, 0),
    "hellaswag": Sampled("hellaswag", "Rowan/hellaswag/default/validation.jsonl", 99, 0),
    "piqa": Sampled("piqa", "baber/piqa/default/validation.jsonl", 99, 0),
    "winogrande": Sampled("winogrande", "allenai/winogrande/winogrande_xl/validation.jsonl", 99, 0),
    "mmlu_high_school_computer_science": Sampled("mmlu/default", "cais/mmlu/high_school_computer_science/test.jsonl", 20, 5),
    "mmlu_high_school_geography": Sampled("mmlu/default", "cais/mmlu/high_school_geography/test.jsonl", 20, 5),
    "mmlu_nutrition": Sampled("mmlu/default", "cais/mmlu/nutrition/test.jsonl", 20, 5),
    "mmlu_world_religions": Sampled("mmlu/default", "cais/mmlu/world_religions/test.jsonl", 20, 5),
}

SHA256: dict[str, str] = {
    "Rowan/hellaswag/default/train.jsonl": "aabf90c2d3fd3a7dec48d1a89c01d43e1f10c50e9b8646061c242c72bbb2da59",
    "Rowan/hellaswag/default/validation.jsonl": "d46e3ae670c256a87334fa512d43fa954b10e284662c33d61ba9e4423fe99592",
    "allenai/ai2_arc/ARC-Challenge/test.jsonl": "392aabd9288ca86e9505c7a503b48bc7eb8f36ecaf93f58809b483c0f51fb912",
    "allenai/ai2_arc/ARC-Challenge/train.jsonl": "9ce539e359dcfd27250d721ef13ae8fbe0a63f16822615c912e3097731f459bc",
    "allenai/ai2_arc/ARC-Easy/test.jsonl": "c8fd8e384d8c1ad7e9cd53c6d354f5227376984d2c63195e70452bea03f3d6a0",
    "allenai/ai2_arc/ARC-Easy/train.jsonl": "8c4e28a6820a4e14b99f804238006360ccafcceda6ecf0db854ee3b499f5335a",
    "allenai/winogrande/winogrande_xl/train.jsonl": "476bb77ddf37b3257a3e7d7516cb563d75ac8a28dbc9bce8abc76d9fefb5e92f",
    "allenai/winogrande/winogrande_xl/validation.jsonl": "f59afb66bd1722e78089f4d1ce39e69b9a20db2ffe37bb07ff9d6c557ce7042f",
    "baber/piqa/default/train.jsonl": "02cd74ffe6efa16078c6a0e7abcc0465ea339da0844846810121847839c6ea09",
    "baber/piqa/default/validation.jsonl": "6964f55e62bb4d49cdf1ba9692f12a70330f0a7843ec38c8230693cce975be57",
    "cais/mmlu/high_school_computer_science/dev.jsonl": "a8bee8f82e3285d93f33d4d71e131ac08d52dd5912765989722f439d29d650d8",
    "cais/mmlu/high_school_computer_science/test.jsonl": "4afddcb2acbcd60912f9eb94748669d60143bd2b1aedeed2c4acc98456119d08",
    "cais/mmlu/high_school_geography/dev.jsonl": "6d8250451754f113130ab389a3be5a16f4c3306de2cd60b9d6c95e65d9231288",
    "cais/mmlu/high_school_geography/test.jsonl": "acebc4a90a0cbaee25e10fed6d7c6358a2cc57bf9569c04f21a7a38e8c10466d",
    "cais/mmlu/nutrition/dev.jsonl": "634c0b7a571ffdeb2f5882bd005331053ccbcf4c4b427aa64be7c16f40c62f91",
    "cais/mmlu/nutrition/test.jsonl": "2b8b6869bf5ae0652535c79a0df7aa996243dffbb0880cac517e4eff09348721",
    "cais/mmlu/world_religions/dev.jsonl": "54961a20597784c58711e176ade1bdef60698359eda518ba2788def4310a9eba",
    "cais/mmlu/world_religions/test.jsonl": "7877c72e9dbaedfc738516c5ba819b50fc2210f744a87754d1e986ebd860ffe3",
}
