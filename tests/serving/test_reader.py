"""An independent reader of a released folder: agreement is found, and each way to differ is told; llama.cpp itself where it is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.serving.reader import confirm
from tests.serving.scripted import Answer, scripted

SAMPLE = {"messages": None, "text": "Once", "ids": [1, 5], "output_ids": [7, 8, 9, 2], "agreed_tokens": 4, "leads": [3.0, 1.0, 0.01, 2.0]}


def folder(root: Path, **changes) -> Path:
    (root / "reynard").mkdir(parents=True)
    (root / "reynard" / "samples.json").write_text(json.dumps({"samples": [SAMPLE | changes]}))
    return root


def answers(tokens: list[int], output: list[int]):
    """A server that speaks llama.cpp's and vLLM's protocol at once."""

    def answer(body: dict, number: int) -> Answer:
        if "content" in body or isinstance(body["prompt"], str):
            return 200, {}, json.dumps({"tokens": tokens}).encode()
        return 200, {}, json.dumps({"tokens": output, "choices": [{"token_ids": output}]}).encode()

    return answer


@pytest.mark.parametrize("program", ["llama.cpp", "vllm"])
@pytest.mark.parametrize(
    ("tokens", "output", "found"),
    [
        ([1, 5], [7, 8], (True, 2, 2)),  # the third token led by 0.01 alone, less than the margin of 0.05: two are compared
        ([5], [7, 8], (False, 2, 2)),
        ([1, 5], [7, 6], (True, 2, 1)),
        ([1, 5], [7], (True, 2, 1)),
    ],
)
def test_tokens_and_answers_are_compared_up_to_where_the_model_was_undecided(tmp_path: Path, program, tokens, output, found):
    with scripted(answers(tokens, output)) as server:
        (reading,) = confirm(folder(tmp_path), server.url.removesuffix("/v1"), program, 0.05)
    assert (reading.tokens_agree, reading.compared, reading.agreed) == found
    assert reading.agrees == (found == (True, 2, 2))
    assert server.asked[1]["prompt"] == [1, 5] and server.asked[1]["temperature"] == 0.0


def test_what_ends_an_answer_is_not_compared_since_servers_keep_it_back(tmp_path: Path):
    with scripted(answers([1, 5], [7, 8, 9])) as server:
        (reading,) = confirm(folder(tmp_path), server.url.removesuffix("/v1"), "llama.cpp", 0.0)
    assert (reading.compared, reading.agrees) == (3, True)


def test_a_server_that_answers_otherwise_and_a_folder_without_samples_are_refused(tmp_path: Path):
    with (
        scripted(lambda body, number: (404, {}, b"{}")) as server,
        pytest.raises(BadInput, match=r"does not answer as vllm does \(HTTPStatusError"),
    ):
        confirm(folder(tmp_path / "one"), server.url, "vllm", 0.05)
    with pytest.raises(BadInput, match=r"has no readable reynard/samples\.json"):
        confirm(tmp_path, "http://127.0.0.1:1", "llama.cpp", 0.05)


@pytest.mark.slow
def test_llama_cpp_reads_a_released_model_as_it_was_released(tmp_path: Path):
    """Needs llama.cpp's converter (LLAMA_CPP: its checkout) and its server (the package xllamacpp), which the project does not install."""
    converter = Path(os.environ.get("LLAMA_CPP", "")) / "convert_hf_to_gguf.py"
    if not converter.is_file():
        pytest.skip("LLAMA_CPP does not name a checkout of llama.cpp, with convert_hf_to_gguf.py")
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's server is not installed: pip install xllamacpp gguf")
    from tasks.model.export import export
    from tasks.release.contents import samples, write_json
    from tasks.release.expected import write_expected
    from tasks.release.facts import Loaded
    from tasks.release.verify_export import look
    from tests.release.models import conversations, template_text, write_checkpoint

    source = write_checkpoint(tmp_path / "checkpoint", context_tokens=256)
    export(source, tmp_path / "model", template_text())
    write_expected(source, tmp_path / "expected", template_text(), conversations(source))
    (tmp_path / "model" / "reynard").mkdir()
    found = Loaded(**look(str(tmp_path / "model"), str(tmp_path / "expected")))
    write_json(tmp_path / "model" / "reynard" / "samples.json", samples(found))
    gguf = tmp_path / "model.gguf"
    subprocess.run([sys.executable, str(converter), str(tmp_path / "model"), "--outtype", "f32", "--outfile", str(gguf)], check=True)
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.warmup = str(gguf), 256, 1, False
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    readings = confirm(tmp_path / "model", server.listening_address, "llama.cpp", 0.05)
    assert all(reading.agrees for reading in readings) and sum(reading.compared for reading in readings) > 20
