"""A released folder's samples and a server of another program to what that program reads differently: tokens, and greedy answers.

The samples (`reynard/samples.json`) hold prompts and answers with ids, as `transformers` and this project's decoder agree on them. A server is
asked in its own protocol, since OpenAI's knows no token ids: llama.cpp's (`/tokenize`, `/completion`) or vLLM's (`/tokenize`, `/v1/completions`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON

Program = Literal["llama.cpp", "vllm"]
SAMPLES = "reynard/samples.json"
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Reading:
    """What a program made of one sample. `compared` answer tokens lie before the first that the model was undecided on."""

    prompt: str
    tokens_agree: bool
    compared: int
    agreed: int

    @property
    def agrees(self) -> bool:
        """Tell whether tokens and answer are the same."""
        return self.tokens_agree and self.agreed == self.compared


def read_samples(folder: Path) -> list[JSON]:
    """Return a released folder's samples; BadInput if it has none."""
    try:
        return json.loads((folder / SAMPLES).read_bytes())["samples"]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} has no readable {SAMPLES} ({type(error).__name__}): give a folder that a release laid down") from None


def confirm(folder: Path, url: str, program: Program, margin: float) -> list[Reading]:
    """Ask a server about each sample of a folder; BadInput if it does not answer as the program does.

    An answer is compared up to the first token that led the second best by less than `margin` logits.
    """
    readings = []
    with httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_SECONDS) as client:
        for sample in read_samples(folder):
            wanted = sample["output_ids"][: decided(sample, margin)]
            is_rendered = sample["messages"] is not None  # then BOS stands in the text, if the template has one
            try:
                ids = tokens(client, program, sample["text"], not is_rendered)
                answer = continued(client, program, sample["ids"], len(wanted)) if wanted else []
            except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
                raise BadInput(
                    f"{url} does not answer as {program} does ({type(error).__name__}: {str(error)[:160]}): check the address and --reader"
                ) from None
            agreed = next(
                (place for place, (a, b) in enumerate(zip(wanted, answer, strict=False)) if a != b), min(len(wanted), len(answer))
            )
            readings.append(Reading(sample["text"], ids == sample["ids"], len(wanted), agreed))
    return readings


def decided(sample: JSON, margin: float) -> int:
    """Return how many tokens of an answer come before the first that the model was undecided on, or that ends it: servers keep that back."""
    leads = sample["leads"]
    sure = next((place for place, lead in enumerate(leads) if lead < margin), len(leads))
    return min(sure, len(sample["output_ids"]) - 1)


def tokens(client: httpx.Client, program: Program, text: str, special: bool) -> list[int]:
    """Have a text cut into tokens; `special` asks for those that the tokenizer puts around a text."""
    if program == "llama.cpp":
        body = {"content": text, "add_special": special, "parse_special": True}
    else:
        body = {"prompt": text, "add_special_tokens": special}
    return asked(client, "/tokenize", body)["tokens"]


def continued(client: httpx.Client, program: Program, ids: list[int], length: int) -> list[int]:
    """Have a prompt of ids continued greedily."""
    if program == "llama.cpp":
        body: JSON = {"prompt": ids, "n_predict": length, "temperature": 0.0, "cache_prompt": False, "return_tokens": True}
        return asked(client, "/completion", body)["tokens"]
    body = {"model": "model", "prompt": ids, "max_tokens": length, "temperature": 0.0, "return_token_ids": True}
    return asked(client, "/v1/completions", body)["choices"][0]["token_ids"]


def asked(client: httpx.Client, path: str, body: JSON) -> JSON:
    """Return what a server answers to a request."""
    answer = client.post(path, json=body)
    answer.raise_for_status()
    return answer.json()
