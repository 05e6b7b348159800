"""Who asks for much waits for it; who asks for little does not."""

import threading
from concurrent.futures import CancelledError, Future

import pytest

from app.callers import taking_turns_as
from app.restore.turns import Turns


class Gate:
    """One thread, held back until what there is to do stands in line."""

    def __init__(self) -> None:
        self.turns = Turns(1, "turn")
        self.done: list[str] = []
        self._open = threading.Event()
        self.turns.submit(self._open.wait)

    def ask(self, caller: str, *names: str) -> list[Future[None]]:
        with taking_turns_as(caller):
            return [self.turns.submit(lambda name=name: self.done.append(name)) for name in names]

    def open(self, futures: list[Future[None]]) -> list[str]:
        self._open.set()
        for future in futures:
            future.result(30)
        return self.done


def test_callers_take_turns_and_each_is_served_in_order() -> None:
    gate = Gate()
    many = gate.ask("mallory", *(f"m{number}" for number in range(50)))
    few = gate.ask("alice", "a0", "a1") + gate.ask("bob", "b0")

    done = gate.open([*many, *few])

    assert done[:6] == ["m0", "a0", "b0", "m1", "a1", "m2"]
    assert done[6:] == [f"m{number}" for number in range(3, 50)]
    assert not gate.turns._lines


def test_what_was_cancelled_is_passed_over() -> None:
    gate = Gate()
    many = gate.ask("mallory", *(f"m{number}" for number in range(50)))
    few = gate.ask("alice", "a0")
    assert all(future.cancel() for future in many[:49])

    assert sorted(gate.open([many[49], *few])) == ["a0", "m49"]
    with pytest.raises(CancelledError):
        many[0].result()


def test_an_error_is_of_who_asked_for_it() -> None:
    turns = Turns(1, "turn")
    failed = turns.submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(30)
    assert turns.submit(lambda: 7).result(30) == 7
