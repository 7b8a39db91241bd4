"""A real export, looked at with `transformers` alone: it passes, and each thing that is done to the folder is found."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tasks.model.export import export
from tasks.release.expected import write_expected
from tasks.release.facts import Declared, Facts, Loaded
from tasks.release.gate import judge
from tasks.release.proof import gather
from tasks.release.verify_export import look
from tests.release.models import conversations, template_text, write_checkpoint


class Exported:
    """A checkpoint, the folder that was exported from it, and what is expected of that."""

    def __init__(self, root: Path, is_chat: bool, tied: bool = True) -> None:
        self.source, self.is_chat, self.tied = write_checkpoint(root / "checkpoint", tied), is_chat, tied
        self.folder, self.expected = root / "model", root / "expected"
        template = template_text() if is_chat else None
        export(self.source, self.folder, template)
        write_expected(self.source, self.expected, template, conversations(self.source) if is_chat else [])
        model = json.loads((self.source / "model.json").read_text())
        self.parameters = sum(tensor.numel() for tensor in load_file(self.folder / "model.safetensors").values())
        assert model["tied_embeddings"] == tied

    def failed(self, folder: Path) -> set[str]:
        """Return the names of the checks that a folder fails."""
        found = Loaded(**look(str(folder), str(self.expected)))
        files = [path.name for path in folder.iterdir()]
        return {
            check.name
            for check in judge(Facts(Declared(self.is_chat, self.parameters, self.tied, "float32"), files, "", found))
            if not check.passed
        }


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Exported:
    return Exported(tmp_path_factory.mktemp("base"), is_chat=False)


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Exported:
    return Exported(tmp_path_factory.mktemp("chat"), is_chat=True)


def edit(file: Path, **values) -> None:
    file.write_text(json.dumps({key: value for key, value in (json.loads(file.read_text()) | values).items() if value != "gone"}))


def reweigh(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.contiguous() for name, tensor in change(tensors).items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )


def swapped(tensors: dict) -> dict:
    first, second = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    return tensors | {first: tensors[second], second: tensors[first]}


FAULTS = {
    "swapped weights": (lambda at: reweigh(at, swapped), {"logits equal the trainer's", "greedy generations are equal"}),
    "a head of its own": (
        lambda at: (edit(at / "config.json", tie_word_embeddings=False), reweigh(at, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()})),
        {"tied embeddings as declared", "parameter count as declared"},
    ),
    "another dtype in the config": (lambda at: edit(at / "config.json", dtype="bfloat16"), {"dtype as declared"}),
    "no eos for generation": (
        lambda at: edit(at / "generation_config.json", eos_token_id="gone"), {"special tokens agree", "generation stops at the end"}
    ),
    "a template on a base model": (lambda at: (at / "chat_template.jinja").write_text(template_text()), {"chat template where it belongs"}),
    "a pickle": (lambda at: (at / "pytorch_model.bin").write_bytes(b""), {"safetensors only"}),
}  # fmt: skip


def test_what_was_exported_passes(base, chat):
    assert base.failed(base.folder) == chat.failed(chat.folder) == set()


def test_untied_embeddings_are_exported_and_proved_as_such(tmp_path: Path):
    untied = Exported(tmp_path, is_chat=False, tied=False)
    assert untied.failed(untied.folder) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_done_to_a_folder_is_found(base, tmp_path: Path, fault):
    do, names = FAULTS[fault]
    do(Path(shutil.copytree(base.folder, tmp_path / "model")))
    assert base.failed(tmp_path / "model") == names


def test_a_template_other_than_the_trained_one_is_found(chat, tmp_path: Path):
    folder = Path(shutil.copytree(chat.folder, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template_text("tulu"))  # no BOS
    assert chat.failed(folder) == {"chat template gives the training tokens", "text gives the trainer's tokens"}
    (folder / "chat_template.jinja").unlink()
    assert chat.failed(folder) == {"chat template where it belongs"}


def test_a_tokenizer_without_a_dummy_prefix_says_so_to_other_readers(base):
    """llama.cpp's converter puts a space before every text where tokenizer_config.json does not say otherwise."""
    assert json.loads((base.folder / "tokenizer_config.json").read_text())["add_prefix_space"] is False


@pytest.mark.slow
def test_a_clean_process_finds_the_same_and_says_why_a_folder_does_not_load(base, tmp_path: Path):
    facts = gather(base.source, base.folder, base.expected, is_chat=False, precision="float32")
    assert facts.loaded is not None and [check.name for check in judge(facts) if not check.passed] == []
    assert facts.loaded.stops and all(len(one["expected_output_ids"]) == 40 for one in facts.loaded.prompts if one["output_ids"][-1] != 2)
    folder = Path(shutil.copytree(base.folder, tmp_path / "model"))
    (folder / "config.json").unlink()
    broken = gather(base.source, folder, base.expected, is_chat=False, precision="float32")
    assert broken.loaded is None and [check.name for check in judge(broken) if not check.passed] == ["loads with transformers alone"]
    assert "Error" in broken.load_error
