"""Work done so far to a line that a person can read: stage, percent, rate, time left.

On a terminal the line is redrawn in place; elsewhere (a pod's log, a file) a new line is printed at most every few seconds.
"""

import sys
import time
from types import TracebackType

from tasks.panels.formats import clock, compact

TERMINAL_SECONDS, LOG_SECONDS = 0.2, 5.0


class Progress:
    """A progress line for one long step; use it as a context manager."""

    def __init__(self, label: str, total: float | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.note = 0.0, ""
        self.begun = self.shown = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def advance(self, amount: float, note: str = "") -> None:
        """Add work done."""
        self.reach(self.done + amount, note)

    def reach(self, done: float, note: str = "") -> None:
        """Set work done to an absolute amount."""
        self.done, self.note = done, note
        now = time.monotonic()
        if now - self.shown >= (TERMINAL_SECONDS if self.terminal else LOG_SECONDS):
            self.shown = now
            self._print(end="" if self.terminal else "\n")

    def line(self) -> str:
        """Return the current line."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        rate = self.done / seconds
        parts = [f"  {self.label}"]
        if self.total:
            parts.append(f"{min(100.0, 100.0 * self.done / self.total):3.0f} %")
        parts.append(f"{compact(self.done)} {self.unit}, {compact(rate)}/s")
        if self.total and 0 < self.done < self.total:
            parts.append(f"{clock((self.total - self.done) / rate)} left")
        if self.note:
            parts.append(self.note)
        return "  ".join(parts)

    def _print(self, end: str) -> None:
        print(f"\r\x1b[2K{self.line()}" if self.terminal else self.line(), end=end, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.terminal:
            print("\r\x1b[2K", end="", flush=True)
