"""Where the paper's SCORPIO and its released code decide differently, and each guard alone."""

import pytest

from serving.sched.decision import Decision, Reason
from serving.sched.engine import EngineView
from serving.sched.latency import FittedLatency
from serving.sched.scorpio import Scorpio, ScorpioCode, TpotGuarded, TtftGuarded
from tests.fixtures.serving import make_limits, make_request

# pre(n) = 1 ms a token; ITL = 5 ms a sequence + 5 ms.
LATENCY = FittedLatency(a=0, b=0.005, c=0, d=0.005, theta=0, phi=0, alpha=0.001, beta=0)


def step(policy, *arriving, now_s: float = 0.0) -> Decision:
    for request in arriving:
        policy.arrive(request)
    return policy.decide(EngineView(now_s, num_free_blocks=1_000, num_blocks=1_000))


def in_decode(policy, *requests, now_s: float = 0.0) -> None:
    step(policy, *requests, now_s=now_s)
    for request in requests:
        assert request in policy.running
        request.num_computed_tokens = request.num_prompt_tokens
        request.num_blocks = -(-request.num_prompt_tokens // 16)
        request.give_token(now_s)


def ids(requests) -> list[str]:
    return [request.request_id for request in requests]


def test_paper_admits_past_a_refused_request_and_the_code_does_not() -> None:
    for make, admitted in ((Scorpio, ["loose"]), (ScorpioCode, [])):
        policy = make(make_limits(max_num_batched_tokens=512), LATENCY)
        in_decode(policy, *(make_request(f"r{n}", tpot_s=0.1, ttft_s=1) for n in range(8)))
        # with tight: B' = 1 + 8·(30/100) = 3.4 → 1.3·22 ms > 30 ms; with loose: B' = 9 → 65 ms
        tight = make_request("tight", tpot_s=0.025, ttft_s=1.0)
        loose = make_request("loose", tpot_s=0.1, ttft_s=2.0)

        assert ids(step(policy, tight, loose).admit) == admitted


def test_code_refuses_unasked_until_somebody_leaves() -> None:
    policy = ScorpioCode(make_limits(), LATENCY)
    first, second = (make_request(name, tpot_s=0.019, ttft_s=9) for name in ("first", "second"))
    in_decode(policy, first)
    assert not step(policy, second).admit  # 1.3·15 ms > .99·19
    third = make_request("third", tpot_s=0.019, ttft_s=8)

    assert not step(policy, third).admit
    policy.leave(first)
    assert ids(step(policy).admit) == ["third"]


def test_code_looks_at_new_arrivals_last_when_it_rejects() -> None:
    for make, late in ((Scorpio, "old"), (ScorpioCode, "urgent")):
        policy = make(make_limits(max_num_seqs=1), LATENCY)
        in_decode(policy, make_request("runs", tpot_s=1.0, ttft_s=5))
        old = make_request("old", prompt=100, ttft_s=0.29, tpot_s=1.0)
        assert not step(policy, old).reject
        urgent = make_request("urgent", prompt=100, ttft_s=0.235, tpot_s=1.0)

        # deadline order: urgent 100 (+50), old 200; order of arrival: old 100, urgent 200 + 50
        decision = step(policy, urgent, now_s=0.095 if make is Scorpio else 0.0)

        assert ids(r.request for r in decision.reject) == [late]


def test_unattainable_is_told_why_and_when_to_come_back() -> None:
    policy = TtftGuarded(make_limits(), LATENCY)
    soon = make_request("soon", prompt=80, ttft_s=0.1)
    queued = make_request("queued", prompt=50, ttft_s=0.11)
    never = make_request("never", prompt=500, ttft_s=0.2)

    rejections = {r.request.request_id: r for r in step(policy, soon, queued, never).reject}

    assert {r.reason for r in rejections.values()} == {Reason.TTFT}
    assert rejections["queued"].retry_after_s == pytest.approx(0.020)
    assert rejections["never"].retry_after_s is None
    assert "soon" not in rejections


def test_ttft_guard_alone_never_skips_a_decode() -> None:
    policy = TtftGuarded(make_limits(), LATENCY)
    in_decode(policy, make_request("tight", tpot_s=0.01), make_request("loose", tpot_s=1.0))

    assert step(policy).tokens == {"tight": 1, "loose": 1}


def test_tpot_guard_alone_keeps_order_of_arrival_and_the_late() -> None:
    policy = TpotGuarded(make_limits(), LATENCY)
    late = make_request("late", tpot_s=0.1, ttft_s=0.001)
    urgent = make_request("urgent", tpot_s=0.1, ttft_s=0.001, arrival_s=0.5)

    decision = step(policy, late, urgent, now_s=1.0)

    assert not decision.reject
    assert ids(decision.admit) == ["late", "urgent"]


def test_what_cannot_be_served_even_alone_is_refused() -> None:
    policy = Scorpio(make_limits(), LATENCY)

    [rejection] = step(policy, make_request("r", tpot_s=0.004, ttft_s=1.0)).reject

    assert (rejection.reason, rejection.retry_after_s) == (Reason.TPOT, None)


def test_preempted_request_comes_back_past_the_guard() -> None:
    policy = Scorpio(make_limits(), LATENCY)
    dropped = make_request("dropped", tpot_s=0.1, ttft_s=0.1)
    in_decode(policy, dropped)
    policy.requeue(dropped)
    dropped.num_computed_tokens = dropped.num_blocks = 0

    decision = step(policy, now_s=50.0)

    assert not decision.reject
    assert ids(decision.admit) == ["dropped"]
