"""Moore's algorithm against trying every subset."""

from itertools import combinations
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.sched.line import Line
from serving.sched.triage import PrefillSpeed, fewest_late
from serving.sched.ttft_guard import deadline_s
from tests.fixtures.serving import TEN_MS_STEPS, make_request

ONE_MS = PrefillSpeed(inf, 0.001, 0.001)


def line_of(jobs: list[tuple[int, int]]) -> Line:
    """Tokens and deadlines; half a millisecond later than those, so that sums never tie."""
    line = Line(lambda request: (deadline_s(request),), TEN_MS_STEPS)
    for number, (tokens, due_ms) in enumerate(jobs):
        line.add(make_request(str(number), prompt=tokens, ttft_s=(due_ms + 0.5) / 1000))
    return line


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

    dropped = {request.request_id for request, _ in fewest_late(line_of(jobs), 0, 0.0, ONE_MS)}

    assert len(jobs) - len(dropped) == most
    assert in_time([job for n, job in enumerate(jobs) if str(n) not in dropped])


def test_the_longest_makes_way_for_those_behind_it() -> None:
    line = line_of([(90, 100), (20, 105), (20, 110)])

    [(dropped, late_s)] = fewest_late(line, 0, 0.0, ONE_MS)

    assert dropped.request_id == "0"
    assert late_s > 0


def test_tokens_given_and_no_objective_are_never_dropped() -> None:
    line = line_of([(30, 20)])
    line.add(make_request("free", prompt=500))
    resumed = make_request("resumed", prompt=500, ttft_s=0.01, output=9)
    resumed.give_token(0.0)
    line.add(resumed)

    assert [r.request_id for r, _ in fewest_late(line, 0, 0.0, ONE_MS)] == ["0"]


def test_a_burst_goes_faster_than_what_follows() -> None:
    speed = PrefillSpeed(burst_tokens=50, burst_token_s=0.001, token_s=0.004)

    assert not fewest_late(line_of([(50, 55), (10, 95)]), 0, 0.0, speed)
    assert fewest_late(line_of([(50, 55), (10, 85)]), 0, 0.0, speed)
