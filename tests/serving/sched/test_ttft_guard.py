"""The TTFT Guard on queues worked out by hand from the paper's formulas."""

import pytest

from serving.sched.latency import FittedLatency
from serving.sched.line import Line
from serving.sched.ttft_guard import TtftGuard, deadline_s
from tests.fixtures.serving import make_request

# pre(n) = 10 ms up to 100 tokens, then 1 ms a token less 50 ms.
LATENCY = FittedLatency(a=0, b=0, c=0, d=0, theta=100, phi=0.010, alpha=0.001, beta=-0.050)


def line_of(*requests) -> Line:
    line = Line(lambda request: (deadline_s(request),), LATENCY)
    for request in requests:
        line.add(request)
    return line


def names(late) -> list[str]:
    return [request.request_id for request, _ in late]


def test_paper_sums_prefill_times_of_all_before() -> None:
    line = line_of(
        make_request("a", prompt=250, ttft_s=0.30),  # pre = 200 ms
        make_request("b", prompt=50, ttft_s=0.31),  # 200 + 10
        make_request("c", prompt=150, ttft_s=0.32),  # 210 + 100
    )
    guard = TtftGuard(LATENCY)

    assert names(guard.unattainable(line, 0, now_s=0.009)) == []
    late = guard.unattainable(line, 0, now_s=0.015)
    assert names(late) == ["c"]
    assert late[0][1] == pytest.approx(0.005)


def test_code_asks_the_model_about_the_sum_and_adds_50_ms() -> None:
    line = line_of(
        make_request("a", prompt=60, ttft_s=0.070),  # pre(60) + 50 = 60 ms
        make_request("b", prompt=60, ttft_s=0.125),  # pre(120) + 50 = 120 ms
    )
    guard = TtftGuard(LATENCY, summed=True)

    assert names(guard.unattainable(line, 0, now_s=0.004)) == []
    assert names(guard.unattainable(line, 0, now_s=0.006)) == ["b"]


def test_rejected_predecessors_cost_nothing() -> None:
    line = line_of(
        make_request("hopeless", prompt=1_000, ttft_s=0.1),  # 950 ms
        make_request("fine", prompt=50, ttft_s=0.2),
    )

    assert names(TtftGuard(LATENCY).unattainable(line, 0, now_s=0.0)) == ["hopeless"]


def test_prompts_under_way_come_first() -> None:
    line = line_of(make_request("a", prompt=50, ttft_s=0.1))

    assert names(TtftGuard(LATENCY).unattainable(line, 200, now_s=0.0)) == ["a"]


def test_no_objective_and_tokens_given_are_never_late_but_take_their_turn() -> None:
    resumed = make_request("resumed", prompt=200, ttft_s=0.01, output=9)
    resumed.give_token(0.0)
    line = line_of(resumed, make_request("free", prompt=200), make_request("a", ttft_s=0.1))

    # resumed is due first: 151 ms; then a's 10 ms
    assert names(TtftGuard(LATENCY).unattainable(line, 0, now_s=0.0)) == ["a"]


def test_order_can_be_another_than_the_lines() -> None:
    line = line_of(
        make_request("urgent", prompt=250, ttft_s=0.21), make_request("old", prompt=50, ttft_s=0.5)
    )
    guard = TtftGuard(LATENCY)

    assert names(guard.unattainable(line, 0, now_s=0.005)) == []
    assert names(guard.unattainable(line, 0, now_s=0.005, order=[1, 0])) == ["urgent"]
