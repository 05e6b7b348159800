"""Blocks spread over threads: all of them, errors, other callers, forks."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from codec.spread import spread


@pytest.mark.parametrize("threads", [1, 2, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 5, 200])
def test_every_index_is_worked_on_once(threads, count):
    seen: list[int] = []
    spread(seen.append, range(count), threads)
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_and_ends_the_work(threads):
    begun: list[int] = []

    def work(index: int) -> None:
        begun.append(index)
        if index == 3:
            raise RuntimeError("three")

    with pytest.raises(RuntimeError, match="three"):
        spread(work, range(100_000), threads)
    assert len(begun) < 100_000


def test_helpers_take_part():
    both = threading.Barrier(2)
    spread(lambda _index: both.wait(30), range(2), 2)


def test_an_error_of_a_helper_is_raised():
    both, caller = threading.Barrier(2), threading.current_thread()

    def work(_index: int) -> None:
        both.wait(30)
        if threading.current_thread() is not caller:
            raise RuntimeError("helper")

    with pytest.raises(RuntimeError, match="helper"):
        spread(work, range(2), 2)


def test_a_call_ends_while_others_have_all_helpers():
    many = 2 * (os.cpu_count() or 1)
    all_in, free = threading.Barrier(many + 1), threading.Event()

    def work(_index: int) -> None:
        free.wait(30)

    with ThreadPoolExecutor(many) as callers:
        calls = [
            callers.submit(lambda: (all_in.wait(30), spread(work, range(2), 2)))
            for _ in range(many)
        ]
        all_in.wait(30)
        done: list[int] = []
        spread(done.append, range(10), 4)
        free.set()
        for call in calls:
            call.result(30)
    assert sorted(done) == list(range(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own():
    spread(lambda _index: None, range(4), 2)
    child = os.fork()
    if not child:
        both, status = threading.Barrier(2), 1
        try:
            spread(lambda _index: both.wait(10), range(2), 2)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
