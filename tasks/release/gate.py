"""Facts on an exported folder and what it was made from to a verdict: one function a reason, all in one list; one that fails refuses.

A rule looks at facts alone, so that each can be shown to fail alone. What a rule needs and was not asked for (scores and licences of a
checkpoint that is only exported, the insides of a folder that does not even load) is not judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON
from tasks.release.facts import Evidence, Facts, Loaded

LOGIT_TOLERANCE = 1e-4  # absolute, of float32
BFLOAT16_TOLERANCE = 0.05  # of the largest logit, where the trainer's own were made in 8 bits; assumption: a few roundings in a row
CLASSES = ("none", "III", "II", "I")  # of the Model Openness Framework, the highest last
# pickles may run code when they are read, and code in a folder asks for trust that nobody should give
UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz", ".py")
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # config.json's names to safetensors'
Needs = Literal["files", "loaded", "evidence"]
Judge = Callable[..., tuple[bool, str]]


@dataclass(frozen=True)
class Check:
    """One reason, judged. `reason` says what was found, `remedy` what to do if it failed."""

    name: str
    passed: bool
    reason: str
    remedy: str

    def row(self) -> JSON:
        """Return what a manifest and the report keep."""
        return {"name": self.name, "passed": self.passed, "detail": self.reason}


@dataclass(frozen=True)
class Rule:
    """A reason for which a release is refused. `judge` takes the facts, and of them what it `needs`."""

    name: str
    needs: Needs
    remedy: str
    judge: Judge


RULES: list[Rule] = []  # in the order in which a person reads them


def rule(name: str, needs: Needs, remedy: str) -> Callable[[Judge], Judge]:
    """Register a function (facts, what it needs of them → passed, what was found) as a reason."""

    def register(function: Judge) -> Judge:
        RULES.append(Rule(name, needs, remedy, function))
        return function

    return register


def judge(facts: Facts) -> list[Check]:
    """Judge facts by every rule whose facts are there."""
    there = {"files": facts.files, "loaded": facts.loaded, "evidence": facts.evidence}
    return [
        Check(one.name, *one.judge(facts, there[one.needs]), one.remedy) for one in RULES if there[one.needs] is not None
    ]  # fmt: skip


def refuse_failed(what: str, checks: list[Check]) -> None:
    """Raise BadInput with every reason that failed, if any did."""
    if failed := [f"{check.name} ({check.reason})" for check in checks if not check.passed]:
        raise BadInput(f"{what} refused: {'; '.join(failed)}")


# --- the folder in a clean process -------------------------------------------------------------------------------------------

EXPORT = "the export is at fault, not the model: compare tasks/model/export.py with what was trained, and release again"


@rule("loads with transformers alone", "files", EXPORT)
def loads(facts: Facts, files: list[str]) -> tuple[bool, str]:
    """A process without this project loads the folder, without code from it."""
    return not facts.load_error, facts.load_error or "in a process of its own, no code from the folder"


@rule("safetensors only", "files", "take the file out: weights are handed on as safetensors, and code belongs into packages")
def safetensors_only(facts: Facts, files: list[str]) -> tuple[bool, str]:
    """Weights are safetensors; nothing in the folder runs when it is read."""
    unsafe = [name for name in files if name.lower().endswith(UNSAFE)]
    weights = [name for name in files if name.endswith(".safetensors")]
    return bool(weights) and not unsafe, ", ".join(unsafe) or ("no pickled weights, no code" if weights else "no safetensors at all")


@rule("logits equal the trainer's", "loaded", EXPORT)
def logits(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """The folder computes what was trained: the logits that the trainer saved, and this project's decoder on the checkpoint's weights."""
    exact = facts.declared.precision == "float32"
    tolerance = LOGIT_TOLERANCE if exact else BFLOAT16_TOLERANCE * found.trainer_largest
    passed = found.trainer_difference <= tolerance and found.decoder_difference <= LOGIT_TOLERANCE
    said = f"largest difference {found.trainer_difference:.2e}, tolerance {tolerance:.0e}"
    return passed, f"{said}; from the decoder on the same weights {found.decoder_difference:.2e}, tolerance {LOGIT_TOLERANCE:.0e}"


@rule(
    "text gives the trainer's tokens",
    "loaded",
    "the tokenizer's files differ from the checkpoint's: release again from the sealed checkpoint",
)
def tokens(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """The folder's tokenizer cuts the fixed prompts as the one that was trained with."""
    other = [one["text"] for one in found.prompts if one["ids"] != one["expected_ids"]]
    return not other and bool(found.prompts), f"other tokens for {other[0][:60]!r}" if other else f"{len(found.prompts)} prompts"


@rule("greedy generations are equal", "loaded", EXPORT)
def generations(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """Greedy decoding of the fixed prompts says what this project's decoder says, up to the first tie between two tokens."""
    other = [one["text"] for one in found.prompts if one["output_ids"][: len(one["expected_output_ids"])] != one["expected_output_ids"]]
    compared = sum(len(one["expected_output_ids"]) for one in found.prompts)
    said = f"another answer to {other[0][:60]!r}" if other else f"{compared} tokens after {len(found.prompts)} prompts"
    nothing = bool(found.prompts) and not compared
    return not other and not nothing, "no token compared: the model is undecided after every prompt" if nothing else said


@rule("all weights are used", "loaded", EXPORT)
def weights(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """No weight is missing from the files, and none is left over."""
    lost = found.missing_weights + found.unexpected_weights
    return not lost, ", ".join(lost[:5]) or "none missing, none unexpected"


@rule("parameter count as declared", "loaded", EXPORT)
def parameters(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """The model has as many parameters as the recipe's."""
    return (
        found.parameters == facts.declared.parameters,
        f"{found.parameters:,} loaded, {facts.declared.parameters:,} in the recipe's model",
    )


@rule(
    "one embedding row a token",
    "loaded",
    "make tokenization.vocabulary_size and model.vocabulary_size the tokenizer's size, and train again",
)
def embedding_rows(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """The tokenizer's size, the embedding's rows and the config's vocabulary are one number."""
    said = f"{found.tokenizer_size:,} tokens, {found.embedding_rows:,} rows, {found.config_vocabulary:,} in the config"
    return found.tokenizer_size == found.embedding_rows == found.config_vocabulary, said


@rule("special tokens agree", "loaded", "set the ids in config.json and generation_config.json from the tokenizer, as the export does")
def special_tokens(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """Tokenizer, config and generation config have the same bos, eos and pad; each has an eos."""
    agreed = all(len(set(ids)) == 1 for ids in found.ids.values()) and None not in found.ids["eos"]
    return agreed, "; ".join(f"{role}: tokenizer {a}, config {b}, generation {c}" for role, (a, b, c) in found.ids.items())


@rule("generation stops at the end", "loaded", "list the token in generation_config.json's eos_token_id")
def stops(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """Generation with the folder's own settings stops when the model says that it is done."""
    on = [token for token, stopped in found.stops.items() if not stopped]
    return bool(found.stops) and not on, f"goes on behind token {', '.join(on)}" if on else f"at token {', '.join(found.stops)}"


@rule(
    "chat template where it belongs",
    "loaded",
    "a base model is released without a chat template, a chat model with the one that it was trained with",
)
def template_place(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """A base model has no chat template; a chat model has one."""
    said = "has a chat template" if found.has_chat_template else "has none"
    return found.has_chat_template == facts.declared.is_chat, f"a {'chat' if facts.declared.is_chat else 'base'} model, which {said}"


@rule("chat template gives the training tokens", "loaded", "release the template that the conversations were rendered with (sft.template)")
def template_tokens(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """The folder's template renders conversations of the training set to the ids and targets that were trained on."""
    if not (facts.declared.is_chat and found.has_chat_template):
        return True, "nothing to render"
    other = found.different_conversations
    said = (
        f"conversation {other[0] + 1} of {found.conversations} differs"
        if other
        else f"{found.conversations} conversations, ids and targets"
    )
    return bool(found.conversations) and not other, said


@rule("dtype as declared", "loaded", "write the tensors in the type that config.json declares")
def dtype(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """All tensors in the files have the type that config.json declares."""
    said = f"config {found.declared_dtype}, files {', '.join(found.dtypes)}"
    return found.dtypes == [DTYPES.get(found.declared_dtype, "unknown")], said


@rule(
    "tied embeddings as declared",
    "loaded",
    "make tie_word_embeddings the recipe's tied_embeddings; write lm_head only where it is not tied",
)
def tied(facts: Facts, found: Loaded) -> tuple[bool, str]:
    """Input and output embedding are one matrix in recipe, config, files and memory, or two in all of them."""
    wanted = facts.declared.tied
    said = {"recipe": wanted, "config": found.config_tied, "files": not found.files_have_head, "loaded": found.loaded_tied}
    return len(set(said.values())) == 1, ", ".join(f"{where} {'tied' if value else 'untied'}" for where, value in said.items())


# --- what speaks for it beside the folder ------------------------------------------------------------------------------------


@rule("evaluated", "evidence", "run the evaluation of this checkpoint (`reynard run RECIPE --workflow evaluate`), then release it")
def evaluated(facts: Facts, shown: Evidence) -> tuple[bool, str]:
    """Every benchmark of the recipe was scored, on these very weights."""
    if shown.scored_checkpoint != shown.checkpoint:
        return False, f"scored was {shown.scored_checkpoint[:12]}, to be released is {shown.checkpoint[:12]}"
    return (
        not shown.unscored,
        f"no score of {', '.join(shown.unscored)}" if shown.unscored else f"{len(shown.scores)} scores of these very weights",
    )


@rule("scores reach their thresholds", "evidence", "train a better model, or lower release.thresholds and say why in the recipe")
def thresholds(facts: Facts, shown: Evidence) -> tuple[bool, str]:
    """Every score for which the recipe has a threshold reaches it."""
    judged = {name: lowest for name, lowest in shown.thresholds.items() if name in shown.scores}
    below = [f"{name} {shown.scores[name]:.1f} is below {lowest:g}" for name, lowest in judged.items() if shown.scores[name] < lowest]
    return not below, "; ".join(below) or ", ".join(
        f"{name} {shown.scores[name]:.1f} of {lowest:g}" for name, lowest in judged.items()
    ) or "none set"


@rule("licences are known", "evidence", "say each source's licence in the recipe, or leave the source out and train again")
def licences(facts: Facts, shown: Evidence) -> tuple[bool, str]:
    """Nothing that the weights are made of has an unknown licence."""
    return not shown.unknown_licences, "; ".join(shown.unknown_licences) or "of all that the weights are made of"


@rule("openness as claimed", "evidence", "claim the computed class in release.openness_class, or add what is lacking")
def openness(facts: Facts, shown: Evidence) -> tuple[bool, str]:
    """The class of the Model Openness Framework that the recipe claims is not above the one that the evidence gives."""
    passed = CLASSES.index(shown.claimed_class) <= CLASSES.index(shown.computed_class)
    said = f"claimed {shown.claimed_class}, the evidence gives {shown.computed_class}"
    return passed, said if passed else "; ".join([said, *shown.lacking])
