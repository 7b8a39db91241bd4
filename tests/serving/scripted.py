"""A function to a real HTTP server on loopback that speaks `/v1/chat/completions`: it decides every answer, and remembers every request."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], bytes]


def said(text: str | None, model: str = "served", tokens: int = 3, reason: str = "stop") -> Answer:
    """Make the answer of a server that works."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    body = {"model": model, "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
    return 200, {}, json.dumps(body).encode()


def refused(status: int, words: str = "busy", **headers: str) -> Answer:
    """Make the answer of a server that does not."""
    return status, headers, json.dumps({"error": {"message": words}}).encode()


@dataclass
class Scripted:
    """A running server: its address, and what it was asked."""

    url: str
    asked: list[dict] = field(default_factory=list)  # bodies, in order
    keys: list[str | None] = field(default_factory=list)  # the Authorization headers that came with them


@contextmanager
def scripted(answer: Callable[[dict, int], Answer]) -> Iterator[Scripted]:
    """Serve; `answer` is given a request's body and how many came before it."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(made.asked)
                made.asked.append(body)
                made.keys.append(self.headers.get("Authorization"))
                status, headers, data = answer(body, number)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as url:
        made = Scripted(url)
        yield made


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback while entered; yields the address, up to and with /v1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
