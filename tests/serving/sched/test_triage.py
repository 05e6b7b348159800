"""Moore's algorithm against trying every subset, for each bound alone and for both."""

from itertools import combinations
from math import inf

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.sched.line import Line
from serving.sched.triage import Bound, PrefillSpeed, Supply, fewest_late
from serving.sched.ttft_guard import deadline_s
from tests.fixtures.serving import TEN_MS_STEPS, make_request

ONE_MS = PrefillSpeed(inf, 0.001, 0.001)


def line_of(jobs: list[tuple[int, int]]) -> Line:
    """Tokens and deadlines; half a millisecond later than those, so that sums never tie."""
    line = Line(lambda request: (deadline_s(request),), TEN_MS_STEPS)
    for number, (tokens, due_ms) in enumerate(jobs):
        line.add(make_request(str(number), prompt=tokens, ttft_s=(due_ms + 0.5) / 1000))
    return line


def late(line: Line, speed: PrefillSpeed = ONE_MS, places: Supply | None = None):
    pending = line.pending_tokens
    bounds = [Bound(pending, speed.seconds, pending)]
    if places is not None:
        bounds.append(Bound(np.ones(len(line)), places.seconds, line.predicted_tokens))
    return fewest_late(line, 0.0, bounds)


def in_time(jobs: list[tuple[int, int]]) -> bool:
    total = 0
    for tokens, due_ms in sorted(jobs, key=lambda job: job[1]):
        total += tokens
        if total > due_ms:
            return False
    return True


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 120)), max_size=8))
@settings(deadline=None, max_examples=60)
def test_drops_as_few_as_any_choice_could(jobs: list[tuple[int, int]]) -> None:
    most = max(
        size for size in range(len(jobs) + 1)
        if any(in_time(list(kept)) for kept in combinations(jobs, size))
    )  # fmt: skip

    dropped = {request.request_id for request, _ in late(line_of(jobs))}

    assert len(jobs) - len(dropped) == most
    assert in_time([job for n, job in enumerate(jobs) if str(n) not in dropped])


def test_the_longest_makes_way_for_those_behind_it() -> None:
    line = line_of([(90, 100), (20, 105), (20, 110)])

    [(dropped, late_s)] = late(line)

    assert dropped.request_id == "0"
    assert late_s > 0


def test_tokens_given_and_no_objective_are_never_dropped() -> None:
    line = line_of([(30, 20)])
    line.add(make_request("free", prompt=500))
    resumed = make_request("resumed", prompt=500, ttft_s=0.01, output=9)
    resumed.give_token(0.0)
    line.add(resumed)

    assert [r.request_id for r, _ in late(line)] == ["0"]


def test_a_burst_goes_faster_than_what_follows() -> None:
    speed = PrefillSpeed(burst_tokens=50, burst_token_s=0.001, token_s=0.004)

    assert not late(line_of([(50, 55), (10, 95)]), speed)
    assert late(line_of([(50, 55), (10, 85)]), speed)


def test_the_first_token_waits_for_the_decodes_beside_it() -> None:
    speed = PrefillSpeed(inf, 0.001, 0.001, decodes_s=0.020)

    assert not late(line_of([(50, 75)]), speed)
    assert late(line_of([(50, 65)]), speed)


def in_place(dues_ms: list[int], places: Supply) -> bool:
    return all(
        float(places.seconds(np.float64(number))) <= (due_ms + 0.5) / 1000
        for number, due_ms in enumerate(sorted(dues_ms), start=1)
    )


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 120)), max_size=8),
    st.integers(0, 3),
    st.integers(10, 100),
)
@settings(deadline=None, max_examples=60)
def test_places_alone_cost_as_few_as_any_choice_could(jobs, free, per_s) -> None:
    places = Supply(free, per_s, 0.003)
    most = max(
        size for size in range(len(jobs) + 1)
        if any(in_place([due for _, due in kept], places) for kept in combinations(jobs, size))
    )  # fmt: skip

    dropped = late(line_of(jobs), PrefillSpeed(inf, 0.0, 0.0), places)

    assert len(jobs) - len(dropped) == most


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 120)), max_size=12),
    st.integers(0, 3),
    st.integers(10, 100),
)
@settings(deadline=None, max_examples=60)
def test_whoever_is_kept_has_prompt_and_place_in_time(jobs, free, per_s) -> None:
    places = Supply(free, per_s, 0.003)

    dropped = [request.request_id for request, _ in late(line_of(jobs), ONE_MS, places)]

    kept = [job for n, job in enumerate(jobs) if str(n) not in dropped]
    assert len(dropped) == len(set(dropped))
    assert in_time(kept)
    assert in_place([due_ms for _, due_ms in kept], places)


def test_of_two_for_one_place_the_longer_answer_makes_way() -> None:
    line = Line(lambda request: (deadline_s(request),), TEN_MS_STEPS)
    for request_id, predicted in (("long", 90), ("short", 20)):
        line.add(make_request(request_id, prompt=10, ttft_s=0.5, predicted=predicted, output=100))

    [(dropped, _)] = late(line, ONE_MS, Supply(1, 1.0, 0.0))

    assert dropped.request_id == "long"
