"""The turn is had in order, by one thread at a time, and never lost."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from app.callers import taking_turns_as
from app.db.turn import Turn

LONG_S = 60.0


def waiting(turn: Turn) -> int:
    return sum(map(len, turn._lines._lines.values()))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0002)


def start(work: Callable[[], None], caller: str = "") -> threading.Thread:
    def run() -> None:
        with taking_turns_as(caller):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def in_line(turn: Turn, callers: str) -> list[str]:
    """Who had the turn, in order, of a thread for each of these letters that asked one by one."""
    had: list[str] = []

    def take(name: str) -> None:
        assert turn.acquire(LONG_S)
        had.append(name)
        turn.release()

    assert turn.acquire(0)
    threads: list[threading.Thread] = []
    for number, caller in enumerate(callers):
        threads.append(start(lambda name=f"{caller}{number}": take(name), caller))
        until(lambda: waiting(turn) == len(threads))
    turn.release()
    for thread in threads:
        thread.join()
    return had


def test_who_asked_first_is_first():
    assert in_line(Turn(), "aaaaa") == ["a0", "a1", "a2", "a3", "a4"]


def test_callers_take_turns_and_each_is_served_in_order():
    turn = Turn()
    assert in_line(turn, "aaaabac") == ["a0", "b4", "c6", "a1", "a2", "a3", "a5"]
    assert not turn._lines


@pytest.mark.parametrize("callers", ["w" * 16, "w" * 8 + "v" * 8])
def test_a_job_has_its_share_beside_those_who_hammer(callers: str):
    """Each leaves only once all others stand in line, which is when a lock could be unfair."""
    turn, turns, had = Turn(), 340, Counter[str]()
    names = [f"{caller}{number}" for number, caller in enumerate(callers)] + ["job"]

    def hammer(name: str) -> None:
        while True:
            assert turn.acquire(LONG_S)
            if had.total() == turns:
                turn.release()
                return
            had[name] += 1
            until(lambda: waiting(turn) == len(names) - 1 or had.total() == turns)
            turn.release()

    threads = [start(lambda name=name: hammer(name), name[0]) for name in names]
    for thread in threads:
        thread.join()
    # It comes back to find one whose turn has just begun, and a line of every other caller.
    assert abs(had["job"] - turns / (len(set(callers)) + 2)) <= 2
    shares = [had[name] for name in names[:-1]]
    assert max(shares) - min(shares) <= 2


def test_it_can_be_taken_again_by_who_has_it():
    turn, seen = Turn(), list[bool]()
    for _ in range(3):
        assert turn.acquire(0)
    for _ in range(3):
        start(lambda: seen.append(turn.acquire(0))).join()
        turn.release()
    start(lambda: seen.append(turn.acquire(0))).join()
    assert seen == [False, False, False, True]


def test_who_waited_too_long_stands_in_no_line():
    turn = Turn()
    assert turn.acquire(0)
    outcomes = list[bool]()
    start(lambda: outcomes.append(turn.acquire(0.001))).join()
    assert outcomes == [False]
    assert not turn._lines
    turn.release()
    assert turn.acquire(0)


def test_who_is_interrupted_while_waiting_keeps_nobody_out():
    class Interrupted(Exception):
        pass

    def interrupt(*_signal: object) -> None:
        raise Interrupted

    turn, may_leave = Turn(), threading.Event()

    def hold() -> None:
        assert turn.acquire(0)
        may_leave.wait(LONG_S)
        turn.release()

    holder = start(hold)
    until(lambda: turn._holder is not None)
    main = threading.get_ident()

    def send() -> None:
        until(lambda: waiting(turn) == 1)
        time.sleep(0.05)  # from standing in line to waiting there
        signal.pthread_kill(main, signal.SIGUSR2)

    former = signal.signal(signal.SIGUSR2, interrupt)
    sender = start(send)
    try:
        with pytest.raises(Interrupted):
            turn.acquire(LONG_S)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR2, former)
    assert not turn._lines
    may_leave.set()
    holder.join()
    assert turn.acquire(0)


def test_no_turn_is_lost_or_had_twice():
    """Among threads that give up, take it again inside, and fail in it."""
    turn, inside, had = Turn(), list[int](), Counter[bool]()

    def work(seed: int) -> None:
        draws = random.Random(seed)
        for _ in range(300):
            if not turn.acquire(draws.choice([0, 0.0001, 0.001, LONG_S])):
                had[False] += 1
                continue
            try:
                inside.append(seed)
                if draws.random() < 0.3:
                    assert turn.acquire(0)
                    turn.release()
                if draws.random() < 0.1:
                    time.sleep(0.0005)
                assert inside == [seed]
            finally:
                inside.clear()
                had[True] += 1
                turn.release()

    threads = [start(lambda seed=seed: work(seed), "ab"[seed % 2]) for seed in range(16)]
    for thread in threads:
        thread.join()
    assert had.total() == 16 * 300
    assert not turn._lines
    assert turn.acquire(0)
