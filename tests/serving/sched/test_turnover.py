"""Departures a second, against lifetimes that are known."""

import random
from math import inf

import pytest

from serving.sched.turnover import Turnover


def test_nothing_is_foretold_before_anybody_left() -> None:
    turnover = Turnover()
    turnover.observe(0.0, 4)
    turnover.observe(9.0, 4)

    assert turnover.per_second(4) == inf


def test_one_of_four_in_two_seconds_is_an_eighth_each() -> None:
    turnover = Turnover()
    turnover.observe(0.0, 4)
    turnover.observe(2.0, 4)
    turnover.left()

    assert turnover.per_second(16) == pytest.approx(2.0, rel=0.01)


def test_an_idle_engine_tells_nothing() -> None:
    turnover = Turnover()
    turnover.observe(0.0, 4)
    turnover.observe(2.0, 0)
    turnover.left()
    before = turnover.per_second(1)
    turnover.observe(1_000.0, 4)

    assert turnover.per_second(1) == before


def test_places_turn_over_as_lifetimes_say_though_most_are_still_open() -> None:
    rng = random.Random(0)
    turnover, now_s, ends = Turnover(), 0.0, [rng.expovariate(1 / 30) for _ in range(200)]
    turnover.observe(now_s, 200)
    for _ in range(400):
        place = min(range(200), key=ends.__getitem__)
        now_s = ends[place]
        turnover.observe(now_s, 200)
        turnover.left()
        ends[place] = now_s + rng.expovariate(1 / 30)

    assert turnover.per_second(200) == pytest.approx(200 / 30, rel=0.15)
