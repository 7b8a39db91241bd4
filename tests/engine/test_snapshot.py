"""To whom a checkpoint's parameters belong, by what ZeRO gives each worker."""

from tasks.engine.snapshot import owners, pieces


def test_a_parameter_belongs_to_the_worker_that_holds_most_of_it_and_to_the_first_of_equals():
    held = [{"a": (0, 60), "b": (0, 10)}, {"b": (10, 30), "c": (0, 20)}, {"c": (20, 20)}]
    assert owners(held) == {"a": 0, "b": 1, "c": 1}


def test_pieces_come_in_one_order_whatever_order_workers_hold_them_in():
    held = [{"b": (0, 1), "a": (0, 2)}, {"b": (1, 3)}]
    assert [tuple(piece) for piece in pieces(held)] == [("a", 0, 0, 2), ("b", 0, 0, 1), ("b", 1, 1, 3)]
