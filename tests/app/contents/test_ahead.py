"""Reads ahead: in order, bounded, errors in their place."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from app.contents.ahead import in_order


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_results_come_in_order(executor):
    first_may_end = threading.Event()

    def call(number):
        if number == 0:
            first_may_end.wait(10)
        else:
            first_may_end.set()
        return number

    calls = [partial(call, number) for number in range(20)]
    assert list(in_order(executor, calls, ahead=3)) == list(range(20))


def test_no_more_calls_are_begun_than_asked_for(executor):
    drawn = []

    def calls():
        for number in range(20):
            drawn.append(number)
            yield partial(int, number)

    with closing(in_order(executor, calls(), ahead=2)) as results:
        assert next(results) == 0
        assert drawn == [0, 1, 2]
        assert next(results) == 1
        assert drawn == [0, 1, 2, 3]


def test_error_of_a_call_is_raised_in_its_place(executor):
    calls = [partial(int, "1"), partial(int, "x"), partial(int, "3")]
    results = in_order(executor, calls, ahead=2)
    assert next(results) == 1
    with pytest.raises(ValueError, match="x"):
        next(results)
