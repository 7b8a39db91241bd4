"""A text to the language that fastText's model recognises in it, with its score.

The model is Facebook's lid.176 (Joulin et al. 2016; CC-BY-SA-3.0), as in CCNet, RefinedWeb and FineWeb. It sees the first 1,000
characters from the first letter on, line ends as spaces: that decides as the whole text does, at a fixed price a document.
"""

import re
from pathlib import Path

from tasks.curation.quality import LABEL, load_fasttext

CHARACTERS = 1_000
_LETTER = re.compile(r"[^\W\d_]")


class LanguageModel:
    """Identifies languages by a fastText model file."""

    def __init__(self, path: Path) -> None:
        self.model = load_fasttext(path, "curation.language_model")

    def identify(self, text: str) -> tuple[str, float]:
        """Return the most probable language's code, as the model names it (`en`), and its probability; ("", 0.0) without a letter."""
        first = _LETTER.search(text)
        if first is None:
            return "", 0.0
        seen = text[first.start() : first.start() + CHARACTERS].replace("\n", " ")
        found = self.model.predict(seen + "\n", 1, 0.0, "strict")
        if not found:
            return "", 0.0
        score, label = found[0]
        return label.removeprefix(LABEL), min(score, 1.0)
