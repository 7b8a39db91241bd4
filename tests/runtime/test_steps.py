"""Steps: finished items are never made twice, torn ones are made again, and hostile work costs one record and not the run."""

import ctypes
import os
import signal
import time
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.artifacts.slices import read_slice, write_slices
from tasks.artifacts.store import Store
from tasks.runtime.isolation import Watch, run_isolated
from tasks.runtime.steps import Item, Output, Steps, make_item, read_done


def square(store: Store, number: int, output: Output) -> dict:
    if number < 0:
        raise BadInput(f"{number} is negative: give a positive number")
    (output.scratch / "answer").write_text(str(number * number))
    output.add(output.scratch / "answer", "answer")
    return {"number": number}


def items(*numbers: int) -> list[Item]:
    return [Item({"number": number}, number) for number in numbers]


def test_results_come_in_order_and_are_made_once(tmp_path: Path):
    store = Store(str(tmp_path))
    steps = Steps(store, "working", 0)
    first = steps.run("square", square, items(3, 1, 2), "code")
    assert [done.path(store, "answer").read_text() for done in first] == ["9", "1", "4"]
    again = Steps(store, "working", 0)
    assert again.run("square", square, items(2, 3, 5), "code")[1] == first[0] and again.made == {"square": 1}


def test_an_item_whose_worker_died_after_sealing_it_is_not_made_again(tmp_path: Path):
    store = Store(str(tmp_path))
    (done,) = Steps(store, "working", 0).run("square", square, items(3), "code")
    make_item(square, store.root, done.folder, -1)  # as Ray calls it once more; it would have been refused
    assert read_done(store, done.folder) == done


def test_forgotten_items_are_gone_and_kept_ones_are_not(tmp_path: Path):
    store = Store(str(tmp_path))
    steps = Steps(store, "working", 0)
    (kept,), (gone,) = steps.run("keep", square, items(3), "code"), steps.run("drop", square, items(4), "code")
    store.copy(gone.key("answer"), "elsewhere")
    steps.forget(keep=["keep"])
    assert store.list("working/drop") == [] and kept.path(store, "answer").read_text() == "9" and store.read("elsewhere") == b"16"


def test_other_code_makes_items_anew(tmp_path: Path):
    steps = Steps(Store(str(tmp_path)), "working", 0)
    steps.run("square", square, items(3), "code")
    steps.run("square", square, items(3), "other code")
    assert steps.made == {"square": 2}


def test_what_was_finished_before_a_failure_stays_finished(tmp_path: Path):
    steps = Steps(Store(str(tmp_path)), "working", 0)
    with pytest.raises(BadInput, match="-1 is negative"):
        steps.run("square", square, items(3, -1, 2), "code")
    again = Steps(Store(str(tmp_path)), "working", 0)
    again.run("square", square, items(3, 2), "code")
    assert again.made == {"square": 1}


@pytest.mark.parametrize("damage", [b"", b'{"body": {"files": {}, "counts": {}}, "sha256": "0"}', b'{"body": {"fi'])
def test_a_torn_record_of_an_item_is_not_believed(tmp_path: Path, damage: bytes):
    store = Store(str(tmp_path))
    done = Steps(store, "working", 0).run("square", square, items(3), "code")[0]
    store.write(f"{done.folder}/done.json", damage)
    again = Steps(store, "working", 0)
    assert again.run("square", square, items(3), "code")[0] == done and again.made == {"square": 1}


def test_an_altered_file_of_an_item_is_refused(tmp_path: Path):
    store = Store(str(tmp_path))
    done = Steps(store, "working", 0).run("square", square, items(3), "code")[0]
    store.write(done.key("answer"), b"8")
    with pytest.raises(OSError, match="changed or damaged"):
        done.path(store, "answer")


def test_slices_come_back_one_by_one_and_a_torn_file_is_refused(tmp_path: Path):
    store = Store(str(tmp_path))
    write_slices(tmp_path / "s", 5, [(3, b"three" * 100), (0, b"nought"), (1, b"")])
    assert [read_slice(store, "s", 5, n) for n in range(5)] == [b"nought", b"", b"", b"three" * 100, b""]
    whole = (tmp_path / "s").read_bytes()
    for place in (3, 40, len(whole) - 1):
        (tmp_path / "s").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(OSError, match=r"torn or not|holds other bytes"):
            [read_slice(store, "s", 5, n) for n in range(5)]
    (tmp_path / "s").write_bytes(whole[:20])
    with pytest.raises(OSError, match="torn"):
        read_slice(store, "s", 5, 0)


def work_through(records: dict[str, str], watch: Watch) -> dict[str, str]:
    outcome = {}
    for address, deed in records.items():
        if not watch.begin(address):
            outcome[address] = watch.crashed[address]
            continue
        if deed == "segfault":
            ctypes.string_at(0)
        elif deed == "hang":
            ctypes.CDLL(None).sleep(30)  # compiled code that no Python signal handler could interrupt
        elif deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        watch.end()
        outcome[address] = "read"
    return outcome


def test_a_record_that_crashes_or_hangs_the_reader_is_left_alone_and_the_others_are_read():
    begun = time.monotonic()
    outcome = run_isolated(lambda watch: work_through({"a": "", "b": "segfault", "c": "hang", "d": ""}, watch), 0.5)
    assert outcome == {"a": "read", "b": "the reader died of SIGSEGV", "c": "no result within 0.5 s", "d": "read"}
    assert time.monotonic() - begun < 20


def test_a_record_is_convicted_of_a_sigkill_only_the_second_time(tmp_path: Path):
    mark = tmp_path / "killed before"

    def once(watch: Watch) -> str:
        watch.begin("a")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "read" if not watch.crashed else "convicted"

    assert run_isolated(once, 5.0) == "read"
    assert run_isolated(lambda watch: work_through({"a": "kill", "b": ""}, watch), 5.0) == {"a": "the reader died of SIGKILL", "b": "read"}


def test_exceptions_come_out_as_they_are():
    def refuse(_: Watch) -> None:
        raise BadInput("the value is wrong: choose another")

    with pytest.raises(BadInput, match="choose another"):
        run_isolated(refuse, 5.0)


def test_a_death_that_no_record_explains_is_an_error():
    def die(_: Watch) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(RuntimeError, match=r"died \(SIGSEGV\) at 'no record'"):
        run_isolated(die, 5.0)


def test_only_an_item_that_takes_much_longer_than_the_others_gets_a_second_worker():
    from tasks.runtime.pool import _stragglers

    now = time.monotonic()
    assert _stragglers({"a": (7, now - 300)}, []) == []  # nothing to compare with
    assert _stragglers({"a": (7, now - 50), "b": (8, now)}, [1.0, 1.0]) == []  # never before a minute
    assert _stragglers({"a": (7, now - 90), "b": (8, now - 50)}, [1.0, 2.0, 1.0]) == [7]
    assert _stragglers({"a": (7, now - 90)}, [40.0]) == []  # the others take long, too
    assert _stragglers({"a": (7, now - 90), "b": (7, now)}, [1.0]) == []  # it has two already
