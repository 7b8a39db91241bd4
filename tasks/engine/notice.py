"""Word that this machine will soon be gone, or that the driver was told to end, to one flag that all workers see at the same step.

It comes in three ways: SIGTERM to a worker (what a pod gets before it is evicted), SIGTERM to the driver, which leaves word in the
store, and Ray's own notice that a node is being drained. Whichever comes first, the step under way is finished, a checkpoint is saved
and the workers end by themselves: no step is lost, and none is taken twice.
"""

import signal
import threading
import time
from types import TracebackType

import ray.train
from ray.train.torch import TorchConfig

from tasks.artifacts.store import Store
from tasks.engine.background import persist
from tasks.engine.job import STOP

LOOK_SECONDS, ASK_RAY_SECONDS = 1.0, 5.0

_told = threading.Event()  # this process got a SIGTERM


def listen() -> None:
    """Take the next SIGTERM as a notice; one more ends the process. ValueError outside of the main thread."""

    def take(number: int, frame: object) -> None:
        if _told.is_set():
            raise SystemExit(128 + number)
        _told.set()

    _told.clear()
    signal.signal(signal.SIGTERM, take)


class _ListeningBackend(TorchConfig().backend_cls):
    """Sets up torch.distributed, after it has let every worker listen in its main thread: the training function runs in another."""

    def on_start(self, worker_group, backend_config) -> None:
        worker_group.execute(listen)
        super().on_start(worker_group, backend_config)


class ListeningTorchConfig(TorchConfig):
    """TorchConfig whose workers take SIGTERM as a notice."""

    @property
    def backend_cls(self):
        """The backend that Ray Train starts."""
        return _ListeningBackend


class Notices:
    """What one worker knows of its end. Its `word` joins an all-reduce of every step, so that all workers hear the same."""

    def __init__(self, store: Store, working: str, rank: int) -> None:
        self.asked = time.monotonic()
        self.rank, self.stop_key = rank, f"{working}/{STOP}"
        self.driver_says_stop = threading.Event()
        if rank == 0:
            threading.Thread(target=self._look, args=(store,), daemon=True).start()

    def _look(self, store: Store) -> None:
        while not self.driver_says_stop.wait(LOOK_SECONDS):
            try:
                if store.exists(self.stop_key):
                    self.driver_says_stop.set()
            except OSError:  # the store does not answer: look again
                continue

    def word(self) -> tuple[int, int]:
        """Return what this worker adds: whether to stop, and whether it is time to ask Ray, which all workers must do together."""
        ask = self.rank == 0 and time.monotonic() - self.asked >= ASK_RAY_SECONDS
        if ask:
            self.asked = time.monotonic()
        return int(_told.is_set() or self.driver_says_stop.is_set()), int(ask)

    @staticmethod
    def agreed(stop: int, ask: int) -> bool:
        """Tell from the sums of all workers' words whether to stop. Every rank must call it."""
        return bool(stop) or (bool(ask) and ray.train.get_preemption_info() is not None)


class StopOnTerm:
    """In the driver: while entered, SIGTERM asks the workers of a job to save and end. `asked` tells that it came."""

    def __init__(self, store: Store, working: str) -> None:
        self.store, self.key = store, f"{working}/{STOP}"
        self.asked = False
        self.before: object = None

    def __enter__(self) -> "StopOnTerm":
        persist(lambda: self.store.remove(self.key))  # of an earlier driver
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self._take)
        return self

    def _take(self, number: int, frame: object) -> None:
        if self.asked:
            raise SystemExit(128 + number)
        self.asked = True
        print("! SIGTERM: finishing the step, saving a checkpoint and ending; once more to end at once", flush=True)
        threading.Thread(target=persist, args=(lambda: self.store.write(self.key, b"SIGTERM"),), daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)
