"""A tokenizer and a mean length to prompts of exactly known lengths: the same ones on every machine.

The report gives a mean alone (234 tokens, OpenOrca's prompts). Lengths here are spread evenly from half of the mean to one and a half of
it, in pairs that balance, so that the mean of all is exact. Words are drawn anew for each prompt: two prompts share no beginning that a
server could have kept.
"""

from collections.abc import Callable

import numpy as np

from recipes.errors import BadInput

_LIST = (
    "the of and to in for on with by from at as is was that it this which are be or an were their has had not but they one all we can more "
    "been when who time people year way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area money story fact month "
    "lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car"
)
WORDS = _LIST.split()
FILLERS = (" a", " on", "a", ".", " I", "1", " x", "z")
TRIES = 50


def lengths(requests: int, mean: int, seed: int) -> list[int]:
    """Return so many lengths with exactly this mean, in an order that the seed decides."""
    half = requests // 2
    away = np.linspace(0.5, 0.0, half, endpoint=False) * mean if half else np.array([])
    below = [int(mean - gap) for gap in away]
    both = below + [2 * mean - one for one in below] + [mean] * (requests % 2)
    return [both[place] for place in np.random.Generator(np.random.PCG64(seed)).permutation(requests)]


def make_prompts(count: Callable[[str], int], wanted: list[int], seed: list[int]) -> list[str]:
    """Return a text for each length; `count` says how many tokens a text becomes. BadInput if a length cannot be met."""
    chance = np.random.Generator(np.random.PCG64(seed))
    return [make_prompt(count, length, chance) for length in wanted]


def make_prompt(count: Callable[[str], int], length: int, chance: np.random.Generator) -> str:
    """Return a text of exactly `length` tokens: words as long as they fit, then single tokens."""
    for _ in range(TRIES):
        words = [WORDS[place] for place in chance.integers(0, len(WORDS), length)]
        low, high = 0, length  # how many words are certain to fit; and of how many it is not known that they do not
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(" ".join(words[:middle])) <= length else (low, middle - 1)
        text = " ".join(words[:low])
        while (size := count(text)) < length:
            longer = next((text + filler for filler in FILLERS if size < count(text + filler) <= length), None)
            if longer is None:
                break
            text = longer
        if size == length:
            return text
    raise BadInput(
        f"no prompt of exactly {length} tokens could be made with this tokenizer: give another --prompt-tokens, larger than its chat template"
    )


def token_counter(folder: str, chat: bool) -> Callable[[str], int]:
    """Open a tokenizer folder and return what counts a prompt's tokens as a server does: within the chat template, if it is a chat."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not chat:
        return lambda text: len(tokenizer(text)["input_ids"])
    if tokenizer.chat_template is None:
        raise BadInput(f"the tokenizer in {folder} has no chat template: measure a base model with --plain")

    def count(text: str) -> int:
        messages = [{"role": "user", "content": text}]
        return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"])

    return count
