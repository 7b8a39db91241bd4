"""Clean documents to the duplicates and junk of a raw crawl, deterministically: so that the quickstart's curation has work.

A source of format `planted` says openly what it adds: exact copies and near copies of other sources' documents, and junk
(too short, symbols only, one line repeated). Which documents are copied follows from their content hashes alone.
"""

import hashlib
import random

from recipes.schema import Plants
from tasks.sources.records import Record

JUNK = ("short", "symbols", "repeated")


def plant(plants: Plants, documents: list[tuple[str, str]]) -> list[Record]:
    """Make the planted records from (address, text) pairs of the origins."""
    order = sorted(documents, key=lambda pair: hashlib.sha256(pair[1].encode()).digest())
    suitable = [pair for pair in order if 2_000 <= len(pair[1]) <= 60_000]
    exact = suitable[: plants.exact_copies]
    near = suitable[plants.exact_copies : plants.exact_copies + plants.near_copies]
    records = [Record(text, f"planted:exact:{address}") for address, text in exact]
    records += [Record(edit_slightly(text, number), f"planted:near:{address}") for number, (address, text) in enumerate(near)]
    records += [Record(make_junk(JUNK[number % len(JUNK)], number), f"planted:junk:{number}") for number in range(plants.junk)]
    return records


def edit_slightly(text: str, seed: int) -> str:
    """Change one word in about 300: the similarity over character 13-grams stays above 0.8."""
    chance = random.Random(seed)
    words = text.split(" ")
    for _ in range(max(1, len(words) // 300)):
        words[chance.randrange(len(words))] = chance.choice(("fox", "vixen", "den"))
    return " ".join(words)


def make_junk(kind: str, seed: int) -> str:
    """Make one junk document of a kind that a crawl is full of."""
    chance = random.Random(seed)
    if kind == "short":
        return f"Page {seed}. Cookies. Log in. © {1990 + seed % 35}"
    if kind == "symbols":
        return " ".join("".join(chance.choice("|=-_*#/\\<>0123456789") for _ in range(8)) for _ in range(120))
    return "\n".join([f"Click here to subscribe to offer {seed}."] * 60)
