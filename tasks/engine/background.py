"""Work that must not hold up training, done in order by a thread: an object store that does not answer is waited for, not died of."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tasks.artifacts.store import Damaged
from tasks.engine.journal import FLUSH_SECONDS, JournalWriter, Row
from tasks.panels.formats import clock

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts
GIVE_UP_SECONDS, TELL_SECONDS = 1800.0, 5.0


def persist(action: Callable[[], T]) -> T:
    """Do what may fail because the store does not answer (OSError) until it succeeds; the last error is raised after half an hour.

    Damaged bytes are raised at once. A wait that gets long is told, once.
    """
    begun, wait, told = time.monotonic(), FIRST_WAIT, False
    while True:
        try:
            return action()
        except OSError as error:
            if isinstance(error, Damaged) or time.monotonic() - begun > GIVE_UP_SECONDS:
                raise
            if not told and time.monotonic() - begun > TELL_SECONDS:
                told = True
                text = f"! the store fails ({type(error).__name__}: {error}); trying again, for {clock(GIVE_UP_SECONDS)} at most"
                print(text, file=sys.stderr, flush=True)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)


class Worker:
    """One task at a time in a thread of its own; the next one waits for it, and gets its error."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def start(self, task: Callable[[], None]) -> None:
        """Begin a task, after the one before it has ended; raises that one's error."""
        self.wait()

        def run() -> None:
            try:
                task()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def wait(self) -> None:
        """Wait for the task that was begun; raises its error."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error


class Beside:
    """A thread that does something again and again while training goes on. What goes wrong with it is said once an outage, and ends nothing."""

    def __init__(self, action: Callable[[], None], seconds: float) -> None:
        self.action, self.seconds = action, seconds
        self.stopped, self.failing = threading.Event(), False
        self.thread = threading.Thread(target=self._go, daemon=True)

    def _go(self) -> None:
        while not self.stopped.wait(self.seconds):
            try:
                self.action()
                self.failing = False
            except Exception as error:  # whatever it is: it comes up again where somebody waits for it, after training
                if not self.failing:
                    print(f"! beside training: {type(error).__name__}: {str(error)[:300]}: trying again", file=sys.stderr, flush=True)
                self.failing = True

    def __enter__(self) -> "Beside":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


class BackgroundJournal:
    """A journal that is written by a thread: rows are taken at once, and reach the store in order, when it answers."""

    def __init__(self, writer: JournalWriter) -> None:
        self.writer = writer
        self.rows: queue.SimpleQueue[tuple[Row, ...] | threading.Event] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def append(self, *rows: Row) -> None:
        """Take rows, which become visible together; each must have `step` and `time`."""
        self.rows.put(rows)

    def flush(self) -> None:
        """Wait until all rows that were taken are in the store."""
        written = threading.Event()
        self.rows.put(written)
        written.wait()

    def _write(self) -> None:
        waiting: list[threading.Event] = []
        while True:
            try:
                item = self.rows.get(timeout=FLUSH_SECONDS)
                if isinstance(item, threading.Event):
                    waiting.append(item)
                else:
                    self.writer.rows += item
            except queue.Empty:
                pass
            if waiting or time.monotonic() - self.writer.flushed >= FLUSH_SECONDS:
                persist(self.writer.flush)
                for written in waiting:
                    written.set()
                waiting = []
