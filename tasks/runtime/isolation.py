"""A function that may crash, hang or be killed on a hostile record, to a result: it runs in a forked child that can be lost.

The child says which record it is about to work on (`watch.begin(address)`) in memory that it shares with its parent, and sets an
alarm that the kernel delivers even to compiled code which never returns. If the child dies of a record, that record is
put on the list of records to leave alone and the work begins again without it. A crash by a signal of the program's own, or the
alarm, convicts at once; a SIGKILL, which may come from outside (an operator, a full machine), only the second time.
"""

import faulthandler
import mmap
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recipes.errors import BadInput

ADDRESS_BYTES = 4096
MOST_CONVICTIONS = 1000


@dataclass
class Watch:
    """What a child tells before it touches a record, and the records that it must leave alone (`crashed`: address to why)."""

    seconds: float
    crashed: dict[str, str] = field(default_factory=dict)
    shared: mmap.mmap | None = None

    def begin(self, address: str) -> bool:
        """Announce a record and set its alarm; False if the record is known to crash or hang the reader."""
        if address in self.crashed:
            return False
        if self.shared is not None:
            data = address.encode("utf-8", "surrogatepass")[: ADDRESS_BYTES - 4]
            self.shared[:4] = len(data).to_bytes(4, "little")
            self.shared[4 : 4 + len(data)] = data
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return True

    def end(self) -> None:
        """Switch the alarm off: the records so far were harmless."""
        if self.shared is not None:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            self.shared[:4] = b"\x00\x00\x00\x00"

    def announced(self) -> str:
        """Return the address that was announced last, or nothing."""
        assert self.shared is not None
        length = int.from_bytes(self.shared[:4], "little")
        return self.shared[4 : 4 + length].decode("utf-8", "surrogatepass")


def run_isolated(function: Callable[[Watch], Any], seconds: float) -> Any:
    """Run `function(watch)` in a forked child until it comes through; return its (picklable) result.

    Exceptions of the function come out as they are. RuntimeError if the child dies where no record was announced.
    """
    watch = Watch(seconds, {}, mmap.mmap(-1, ADDRESS_BYTES))
    killed: dict[str, int] = {}
    while True:
        watch.end()
        kind, value = _fork(function, watch)
        if kind == "result":
            return value
        if kind == "error":
            raise value
        address = watch.announced()
        if not address or address in watch.crashed or len(watch.crashed) >= MOST_CONVICTIONS:
            raise RuntimeError(
                f"a worker died ({value}) at {address or 'no record'!r}, where leaving a record alone does not help: see its log"
            )
        killed[address] = killed.get(address, 0) + 1
        if value != "SIGKILL" or killed[address] > 1:
            watch.crashed[address] = f"no result within {seconds:g} s" if value == "SIGALRM" else f"the reader died of {value}"


def _fork(function: Callable[[Watch], Any], watch: Watch) -> tuple[str, Any]:
    """Run the function in a child; return how it ended: (`result`, value), (`error`, exception) or (`died`, name of the signal)."""
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            _work(function, watch, answer)
        status = _wait(child)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            answer.seek(0)
            return pickle.load(answer)  # noqa: S301  written by our own child a moment ago
        died_of = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
        return "died", died_of


def _wait(child: int) -> int:
    """Wait for a child, and take it along if this process is told to stop."""
    try:
        return os.waitpid(child, 0)[1]
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _work(function: Callable[[Watch], Any], watch: Watch, answer: Any) -> None:
    """The child's life: work, write the answer, leave without running the parent's exit handlers."""
    code = 1
    try:
        faulthandler.disable()  # the verdict says what happened
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with_parent()
        try:
            outcome = ("result", function(watch))
        except BaseException as error:
            outcome = ("error", _portable(error))
        watch.end()
        pickle.dump(outcome, answer)
        answer.flush()
        code = 0
    finally:
        os._exit(code)


def _portable(error: BaseException) -> BaseException:
    """Return an exception that survives pickling: itself, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
        return error
    except Exception:
        return BadInput(str(error)) if isinstance(error, BadInput) else RuntimeError(f"{type(error).__name__}: {error}")


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process with its parent, so that a killed worker leaves nothing running."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        time.sleep(0)
