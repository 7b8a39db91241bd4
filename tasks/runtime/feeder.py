"""Rows of a journal that is being written to the metrics of one MLflow run, by a thread that nobody waits for.

Every row is sent once, in the order of steps. When MLflow does not answer, rows wait and the pauses between tries grow. When steps
are taken again after a restart, what MLflow holds of them is no longer what led to the weights, and MLflow cannot remove a value:
the run is then replaced by another that gets all rows of the journal.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.runtime.tracker import Row, client, log_rows, say_down, say_up

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SEND_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
ROWS_PER_CALL = 250  # of four numbers or so


class Feeder:
    """The thread and what it has yet to send; without an address it does nothing."""

    def __init__(self, uri: str, open_run: "Callable[[MlflowClient, bool], str]", all_rows: Callable[[], list[Row]]) -> None:
        """Start sending; `open_run(tracker, anew)` returns the run's id and makes it if need be, `all_rows()` reads the whole journal."""
        self.uri, self.open_run, self.all_rows = uri, open_run, all_rows
        self.lock = threading.Lock()
        self.waiting: dict[int, Row] = {}  # by step: not known to be in MLflow
        self.sent: dict[int, float] = {}  # times of rows by step that MLflow may hold
        self.anew = False  # what MLflow holds is no longer true
        self.failures, self.late = 0, 0
        self.closing, self.deadline = threading.Event(), float("inf")
        self.thread = threading.Thread(target=self._work, daemon=True, name="mlflow-feeder")
        if uri:
            self.thread.start()

    def add(self, rows: list[Row]) -> None:
        """Take rows over, in the order they were written; rows that were taken before change nothing."""
        with self.lock:
            for row in rows if self.uri else []:
                step = int(row["step"])
                known = self.sent.get(step)
                if known != row["time"]:
                    self.anew |= known is not None
                    self.waiting[step] = row

    def complete(self, rows: list[Row]) -> None:
        """Take over all rows of a journal that is finished: from here on it is not read any more, and may be deleted."""
        with self.lock:  # waits for a reading that has begun
            self.all_rows = lambda: rows
        self.add(rows)

    def close(self, seconds: float) -> tuple[list[Row], bool]:
        """Stop within some seconds; return the rows that MLflow is not known to hold, and whether its run has to be replaced first.

        If MLflow does not answer at all, this takes two tries and no more.
        """
        self.deadline = time.monotonic() + seconds
        self.closing.set()
        if self.thread.is_alive():
            self.thread.join(seconds)
        with self.lock:
            if self.anew:
                return self.all_rows(), True
            return [self.waiting[step] for step in sorted(self.waiting)], False

    def _work(self) -> None:
        pause = SEND_SECONDS
        while True:
            last = self.closing.wait(pause) or time.monotonic() >= self.deadline
            try:
                self._send_waiting()
            except Exception as error:  # whatever a tracker throws, the work goes on
                self.failures += 1
                if self.failures > 1:  # one may be a connection that was closed in between
                    say_down(self.uri, error)
                    if last:
                        return
                with self.lock:
                    self.late = max(self.late, len(self.waiting))
                pause = min(SEND_SECONDS * 2**self.failures, LONGEST_PAUSE_SECONDS)
                if last:
                    time.sleep(min(SEND_SECONDS, max(0.0, self.deadline - time.monotonic())))
                continue
            pause = SEND_SECONDS
            if last:
                return

    def _send_waiting(self) -> None:
        """Send what waits, batch by batch, until nothing does or the time is up."""
        tracker: MlflowClient | None = None
        while time.monotonic() < self.deadline and (self.waiting or self.anew):
            tracker = tracker or client(self.uri)
            if self.anew:
                self._begin_anew(tracker)
            with self.lock:
                batch = [self.waiting[step] for step in sorted(self.waiting)[:ROWS_PER_CALL]]
                in_doubt = any(int(row["step"]) in self.sent for row in batch)
                self.sent |= {int(row["step"]): row["time"] for row in batch}
            log_rows(tracker, self.open_run(tracker, False), batch, in_doubt)
            with self.lock:
                for row in batch:
                    if self.waiting.get(int(row["step"])) is row:
                        del self.waiting[int(row["step"])]
        if self.failures and not self.waiting:
            say_up(self.uri, self.late)
            self.failures = self.late = 0

    def _begin_anew(self, tracker: "MlflowClient") -> None:
        """Replace the run and let all rows wait for the new one; of two rows of a step, the later one counts."""
        self.open_run(tracker, True)
        with self.lock:
            rows = self.all_rows()
            self.anew, self.sent = False, {}
            for row in rows:
                step = int(row["step"])
                if step not in self.waiting or self.waiting[step]["time"] < row["time"]:
                    self.waiting[step] = row
