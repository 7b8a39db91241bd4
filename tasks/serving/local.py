"""An exported model folder to an OpenAI-compatible server on this machine: `transformers serve`, for as long as it is wanted."""

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from recipes.errors import BadInput
from tasks.serving.endpoint import Endpoint

START_SECONDS = 180.0


@contextmanager
def serve(folder: Path, start_seconds: float = START_SECONDS) -> Iterator[Endpoint]:
    """Serve a Hugging Face folder on a free port of the loopback address; RuntimeError with its last lines if it does not come up.

    BadInput if the folder is no chat model, or the server's packages are not installed. Code in the folder is never run.
    """
    folder = folder.resolve()
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} is no exported model: give a folder with config.json, such as runs/latest/release/chat")
    if importlib.util.find_spec("openai") is None:
        raise BadInput("`transformers serve` needs the package openai: pip install -c constraints.txt -e '.[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/health", time.monotonic() + start_seconds)
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}; its last lines:\n" + "\n".join(log.read().splitlines()[-15:])) from None
        else:
            yield Endpoint(f"http://127.0.0.1:{port}/v1", str(folder))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen, url: str, until: float) -> None:
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"`transformers serve` ended with status {process.returncode} before it answered")
        try:
            if httpx.get(url, timeout=5.0).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("`transformers serve` did not answer in time")
