"""Work in the background: a store that does not answer is waited for, order is kept, and no error is lost."""

import threading
from pathlib import Path

import pytest

from tasks.artifacts.store import Damaged, Store
from tasks.artifacts.tensors import divide, shard_name
from tasks.engine import background
from tasks.engine.background import BackgroundJournal, Beside, Worker, persist
from tasks.engine.journal import JournalWriter, merged_rows


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(background, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(background, "FLUSH_SECONDS", 0.01)


def test_what_fails_for_the_store_is_tried_until_it_succeeds_and_other_errors_are_raised_at_once():
    tries = []

    def third_time() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no answer")

    persist(third_time)
    assert len(tries) == 3
    with pytest.raises(ValueError, match="a mistake"):
        persist(lambda: (_ for _ in ()).throw(ValueError("a mistake")))


def test_an_outage_without_end_is_told_once_and_an_error_in_the_end(monkeypatch, capfd):
    monkeypatch.setattr(background, "GIVE_UP_SECONDS", 0.05)
    monkeypatch.setattr(background, "TELL_SECONDS", 0.0)
    with pytest.raises(OSError, match="gone"):
        persist(lambda: (_ for _ in ()).throw(OSError("gone")))
    assert capfd.readouterr().err.count("! the store fails (OSError: gone); trying again, for") == 1


def test_a_second_task_waits_for_the_first_and_gets_its_error():
    order, go, worker = [], threading.Event(), Worker()

    def first() -> None:
        go.wait()
        order.append("first")
        raise TimeoutError("the first failed")

    worker.start(first)
    order.append("began")
    go.set()
    with pytest.raises(TimeoutError, match="the first failed"):
        worker.start(lambda: order.append("second"))
    assert order == ["began", "first"]
    worker.start(lambda: order.append("third"))
    worker.wait()
    assert order[-1] == "third"


def test_what_fails_beside_training_is_said_once_an_outage_and_tried_again_until_training_ends(capfd):
    calls, enough = [], threading.Event()

    def look() -> None:
        calls.append(1)
        if len(calls) > 6:
            enough.set()
        if len(calls) in (2, 3, 4, 6):
            raise RuntimeError("no answer")

    with Beside(look, 0.001) as beside:
        assert enough.wait(10)
    assert not beside.thread.is_alive()
    assert capfd.readouterr().err.count("! beside training: RuntimeError: no answer: trying again") == 2


def test_a_journal_takes_rows_while_the_store_is_away_and_has_them_all_in_order_after_it(tmp_path: Path):
    store = Store(str(tmp_path))
    write, away = store.write, threading.Event()
    away.set()

    def sometimes(key: str, data: bytes) -> None:
        if away.is_set():
            raise OSError("no answer")
        write(key, data)

    store.write = sometimes
    journal = BackgroundJournal(JournalWriter(store, "w"))
    for step in range(1, 200):
        journal.append({"step": step, "time": 0.0, "loss": float(step)})
    assert not store.list("w")
    away.clear()
    journal.flush()
    assert [row["step"] for row in merged_rows(store, "w")] == list(range(1, 200))


def test_tensors_are_divided_evenly_completely_and_the_same_everywhere():
    sizes = {f"layer.{n}": (n * 37) % 11 * 1000 + 1 for n in range(40)} | {"embedding": 60_000}
    owner = divide(sizes, 4)
    assert owner == divide(dict(reversed(sizes.items())), 4) and owner.keys() == sizes.keys()
    filled = [sum(size for name, size in sizes.items() if owner[name] == rank) for rank in range(4)]
    assert max(filled) - min(filled) <= 10_001  # no fairer than the largest of the small ones
    assert (shard_name("model", 0, 2), shard_name("model", 1, 2)) == (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    )


def test_damaged_bytes_are_not_read_again():
    tries = []

    def read():
        tries.append(1)
        raise Damaged("other bytes than were sealed")

    with pytest.raises(Damaged):
        persist(read)
    assert len(tries) == 1
