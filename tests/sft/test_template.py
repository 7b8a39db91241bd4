"""Templates: what is trained, token by token against Tulu's own code, and by reading it."""

import gzip
import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from recipes.errors import BadInput
from tasks.model.template import TEMPLATES
from tasks.sft.template import Renderer, open_tokenizer
from tasks.tokenization.sentencepiece_model import to_transformers
from tests.sft.tokenizers import mistral_model, small_tokenizer

INSTRUCT = Path(__file__).resolve().parents[3] / "shared" / "data" / "instruct"
CASES, REAL = INSTRUCT / "tulu_reference_cases.json", INSTRUCT / "open_messages.jsonl.gz"
FORMS = {"legacy": "tulu_legacy", "current": "tulu", "current_add_bos": "tulu_bos"}  # of the reference cases
USER, ASSISTANT, SYSTEM = ({"role": role, "content": f"{role} speaks"} for role in ("user", "assistant", "system"))
HOSTILE = [
    {"role": "user", "content": "  é漢 字x\u0301 "}, {"role": "assistant", "content": "漢🙂\t   \n\n x "},
    {"role": "user", "content": "q"}, {"role": "assistant", "content": "\n z"},
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def mistral(tmp_path_factory) -> Path:
    model = mistral_model()
    if model is None:
        pytest.skip("mistral-common brings the model")
    folder = tmp_path_factory.mktemp("mistral")
    to_transformers(model.read_bytes(), True, folder)
    return folder


@pytest.mark.skipif(not CASES.is_file(), reason="the reference cases are not here")
@pytest.mark.parametrize("form", FORMS)
def test_ids_and_labels_are_those_of_tulus_own_code(mistral: Path, form: str):
    renderer = Renderer(open_tokenizer(mistral, FORMS[form]))
    cases = json.loads(CASES.read_text())
    assert len(cases) >= 2
    for case in cases:
        ((ids, trained),) = renderer.render([case["messages"]])
        assert ids.tolist() == case[form]["input_ids"]
        assert np.where(trained, ids, -100).tolist() == case[form]["labels"]


@pytest.mark.skipif(not REAL.is_file(), reason="the real conversations are not here")
def test_of_real_conversations_exactly_what_the_assistant_says_is_trained_on(mistral: Path):
    tokenizer = open_tokenizer(mistral, "tulu")
    with gzip.open(REAL) as lines:
        rows = [orjson.loads(line)["messages"] for line in lines][-150:]
    chats = [[{"role": turn["role"], "content": turn["content"]} for turn in row] for row in rows]
    for chat, (ids, trained) in zip([*chats, HOSTILE], Renderer(tokenizer).render([*chats, HOSTILE]), strict=True):
        said = "".join(turn["content"] + "</s>" for turn in chat if turn["role"] == "assistant")
        assert tokenizer.decode(ids[trained]).lstrip() == said.lstrip()


def test_only_the_assistants_words_and_its_end_are_trained(small: Path):
    tokenizer = open_tokenizer(small, "tulu_bos")
    ((ids, trained),) = Renderer(tokenizer).render([[SYSTEM, USER, ASSISTANT, USER, ASSISTANT]])
    assert tokenizer.decode(ids) == (
        "<s><|system|>\nsystem speaks\n<|user|>\nuser speaks\n<|assistant|>\nassistant speaks</s>\n<|user|>\nuser speaks\n"
        "<|assistant|>\nassistant speaks</s>"
    )
    assert tokenizer.decode(ids[trained]) == "assistant speaks</s>assistant speaks</s>"


def test_tulu_2s_form_trains_the_line_break_behind_a_turn_and_strips_contents(small: Path):
    tokenizer = open_tokenizer(small, "tulu_legacy")
    ((ids, trained),) = Renderer(tokenizer).render([[USER, ASSISTANT | {"content": " yes\n"}, USER, ASSISTANT | {"content": "no "}]])
    assert tokenizer.decode(ids[trained]) == "yes</s>\nno</s>"


@pytest.mark.parametrize("name", ["tulu", "tulu_bos", "tulu_legacy"])
def test_the_generation_prompt_is_what_precedes_a_trained_answer(small: Path, name: str):
    tokenizer = open_tokenizer(small, name)
    ((ids, trained),) = Renderer(tokenizer).render([[USER, ASSISTANT]])
    prompt = tokenizer.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    assert ids[: np.argmax(trained)].tolist() == prompt


def test_gemmas_turns_put_the_systems_words_before_the_users_and_end_with_their_own_piece(tmp_path: Path):
    tokenizer = gemma_like(tmp_path)
    ((ids, trained),) = Renderer(tokenizer).render([[SYSTEM, USER, ASSISTANT, USER, ASSISTANT]])
    assert tokenizer.decode(ids) == (
        "<s><start_of_turn>user\nsystem speaks\n\nuser speaks<end_of_turn>\n<start_of_turn>model\nassistant speaks<end_of_turn>\n"
        "<start_of_turn>user\nuser speaks<end_of_turn>\n<start_of_turn>model\nassistant speaks<end_of_turn>\n"
    )
    assert tokenizer.decode(ids[trained]) == "assistant speaks<end_of_turn>assistant speaks<end_of_turn>"


def gemma_like(folder: Path):
    """Return the small tokenizer with Gemma's pieces for turns."""
    small_tokenizer(folder)
    tokenizer = open_tokenizer(folder)
    tokenizer.add_tokens(["<start_of_turn>", "<end_of_turn>"])
    tokenizer.save_pretrained(folder)
    return open_tokenizer(folder, "gemma")


def test_gemmas_turns_are_refused_without_its_pieces(small: Path):
    with pytest.raises(BadInput, match=r"sft.template 'gemma' ends turns with <end_of_turn>, for which the tokenizer has no piece"):
        open_tokenizer(small, "gemma")


def test_contents_that_spell_out_a_control_token_are_found(small: Path, tmp_path: Path):
    renderer = Renderer(open_tokenizer(small, "tulu"))
    assert renderer.spells_control_token([USER, ASSISTANT | {"content": "the end is </s>, and"}])
    assert not renderer.spells_control_token([USER, ASSISTANT | {"content": "<end_of_turn> </ s>"}])
    assert Renderer(gemma_like(tmp_path)).spells_control_token([USER | {"content": "<end_of_turn>\n<start_of_turn>model"}, ASSISTANT])


def test_every_template_marks_what_is_trained():
    assert all(template.count("{%- generation %}") == template.count("{%- endgeneration %}") == 1 for template in TEMPLATES.values())
