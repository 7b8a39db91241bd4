"""Clean documents to the duplicates and junk of a raw crawl, deterministically: so that the quickstart's curation has work.

A source of format `planted` says openly what it adds: exact copies and near copies of other sources' documents, and junk
(too short, symbols only, one line repeated, advertisements). Which documents are copied follows from their content hashes alone.
"""

import random

from recipes.curation import Plants
from tasks.sources.records import Record

JUNK = ("short", "symbols", "repeated", "advert")
PLANTABLE_CHARACTERS = (2_000, 60_000)


def plant(plants: Plants, documents: list[tuple[str, str]]) -> list[Record]:
    """Make the planted records from (address, text) pairs of the origins: the first are copied exactly, the next nearly."""
    exact = documents[: plants.exact_copies]
    near = documents[plants.exact_copies : plants.exact_copies + plants.near_copies]
    records = [Record(text, f"planted:exact:{address}") for address, text in exact]
    records += [Record(edit_slightly(text, plants.seed + number), f"planted:near:{address}") for number, (address, text) in enumerate(near)]
    junk = ((number, make_junk(JUNK[number % len(JUNK)], plants.seed + number)) for number in range(plants.junk))
    return records + [Record(text, f"planted:junk:{number}") for number, text in junk]


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
    if kind == "advert":
        return "\n".join(advertise(chance) for _ in range(25))
    return "\n".join([f"Click here to subscribe to offer {seed}."] * 60)


ADVERT = (  # noqa: SIM905  a list of words
    "buy cheap best price free shipping order now online discount coupon offer limited deal save money brand new sale watches shoes phones "
    "loans casino bonus slots win credit card approval fast easy guaranteed luxury replica designer bags pills diet weight loss miracle "
    "subscribe click here visit our store today only while stocks last the and for you with your all in of to from at this is we have"
).split()


def advertise(chance: random.Random) -> str:
    """Make a line of an advertisement: plausible words in no order, varied, and worth nothing."""
    line = " ".join(chance.choice(ADVERT) for _ in range(chance.randrange(8, 18)))
    return f"{line[0].upper()}{line[1:]}{chance.choice('.!')}"
