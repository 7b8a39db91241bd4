"""A list of times to a real HTTP server that streams a token at each of them, on a clock that it sets itself: nobody waits, nothing is measured.

The server sets the clock, sends a token, and goes on when the client has looked at the clock.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.serving.scripted import listening


@dataclass
class Clock:
    """Seconds that stand still until somebody sets them; every look is counted."""

    now: float = 0.0
    looks: int = 0
    seen: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self) -> float:
        with self.seen:
            self.looks += 1
            self.seen.notify_all()
            return self.now

    def set(self, now: float) -> None:
        """Set the time, and wait until somebody has looked at it."""
        with self.seen:
            self.now, before = now, self.looks
        self.before = before

    def wait(self) -> None:
        """Wait until somebody has looked since the time was set; gives up after ten seconds."""
        with self.seen:
            self.seen.wait_for(lambda: self.looks > self.before, 10)


@dataclass
class Stream:
    """A running server: its address, and what it was asked."""

    url: str
    asked: list[dict] = field(default_factory=list)


@contextmanager
def streaming(
    times: Callable[[int], list[float]], clock: Clock | None = None, usage: bool = True, accepts: Callable[[dict], int] = lambda body: 200, end: str = "[DONE]",
) -> Iterator[Stream]:  # fmt: skip
    """Serve; `times(n)` are those at which the n-th accepted request gets a token each, `accepts` is the status of a request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = accepts(body)
            self.send_response(status)
            self.end_headers()
            if status != 200:
                self.wfile.write(b'{"detail": "Unexpected fields"}')
                return
            made.asked.append(body)
            mine = times(len(made.asked) - 1)
            for moment in mine:
                if clock:
                    clock.set(moment)
                self.send({"choices": [{"delta": {"content": "x"}, "index": 0}]})
                if clock:
                    clock.wait()
            tail = {"choices": [{"delta": {}, "finish_reason": "length"}]}
            self.send(tail | ({"usage": {"prompt_tokens": 234, "completion_tokens": 2 * len(mine)}} if usage else {}))
            self.wfile.write(f"data: {end}\n\n".encode())

        def send(self, event: dict) -> None:
            self.wfile.write(f": a comment\n\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as url:
        made = Stream(url)
        yield made
