"""Pace, room and rounds, worked out by hand."""

from math import inf

import pytest

from serving.sched.engine import EngineView
from serving.sched.latency import FittedLatency
from serving.sched.pace import MARGIN, next_round, slack_s
from serving.sched.scorpio_plus import ScorpioPlus
from serving.sim.machine import Machine
from serving.sim.simulator import simulate
from tests.fixtures.serving import make_limits, make_request

# pre(n) = 0.1 ms a token; ITL = 1 ms a sequence + 9 ms.
LATENCY = FittedLatency(a=0, b=0.001, c=0, d=0.009, theta=0, phi=0, alpha=0.0001, beta=0)


def decoding(request_id: str, *, tpot_s: float, given: int = 1, predicted: int = 50, **changes):
    request = make_request(request_id, tpot_s=tpot_s, predicted=predicted, output=100, **changes)
    for _ in range(given):
        request.give_token(0.0)
    request.num_computed_tokens = request.num_prompt_tokens + given - 1
    return request


def ids(requests) -> list[str]:
    return [request.request_id for request in requests]


def test_tokens_given_early_are_time_in_hand() -> None:
    request = decoding("r", tpot_s=0.030, given=4)

    assert slack_s(request, 0.050, 0.010) == pytest.approx(4 * 0.030 - 0.050)


def test_who_is_behind_shares_what_is_left_until_its_end() -> None:
    request = decoding("r", tpot_s=0.030, given=2, predicted=12)

    # due at 60 ms, now 100: 40 ms behind; 10 tokens left until 30·11 = 330 ms: 23 ms each
    assert slack_s(request, 0.100, 0.010) == pytest.approx(0.023)


def test_who_cannot_catch_up_is_lost() -> None:
    request = decoding("r", tpot_s=0.030, given=2, predicted=12)

    assert slack_s(request, 0.300, 0.010) < 0.010


def test_all_take_part_while_the_tightest_can_wait_for_them() -> None:
    requests = [decoding("a", tpot_s=0.03), decoding("b", tpot_s=0.05)]

    found = next_round(requests, 0.0, LATENCY)

    assert ids(found.decodes) == ["a", "b"]
    assert found.ends_s == pytest.approx(0.030 * MARGIN)


def test_the_loosest_skip_when_not_all_fit() -> None:
    tight = [decoding(f"t{n}", tpot_s=0.015) for n in range(4)]
    loose = [decoding(f"l{n}", tpot_s=0.5) for n in range(4)]

    found = next_round([*loose, *tight], 0.0, LATENCY)  # 14.25 ms: 5 sequences

    assert ids(found.decodes) == ["l0", "t0", "t1", "t2", "t3"]


def test_the_lost_are_served_last_and_one_always() -> None:
    lost = [decoding(f"lost{n}", tpot_s=0.012, given=3, predicted=3) for n in range(3)]
    kept = [decoding(f"k{n}", tpot_s=1.0 + 0.012) for n in range(5)]

    found = next_round([*lost, *kept], 1.0, LATENCY)

    assert {"lost0", "lost1", "lost2"} & set(ids(found.decodes))


def test_no_decodes_leave_all_room() -> None:
    assert next_round([], 0.0, LATENCY).ends_s == inf


def step(policy, *arriving, now_s=0.0):
    for request in arriving:
        policy.arrive(request)
    return policy.decide(EngineView(now_s, num_free_blocks=1_000, num_blocks=1_000))


def running(policy, request, now_s=0.0) -> None:
    step(policy, request, now_s=now_s)
    request.num_computed_tokens = request.num_prompt_tokens
    request.num_blocks = -(-request.num_prompt_tokens // 16)
    request.give_token(now_s)


def test_chunks_are_as_large_as_the_tightest_allows() -> None:
    policy = ScorpioPlus(make_limits(max_num_batched_tokens=4_000), LATENCY)
    running(policy, make_request("old", tpot_s=0.040, ttft_s=1))

    decision = step(policy, make_request("new", prompt=1_000, ttft_s=3, tpot_s=0.04))

    # 40 ms · .95 = 38 ms: 380 tokens, one of them the decode
    assert decision.tokens == {"old": 1, "new": 379}


def test_nothing_is_rejected_that_time_in_hand_can_save() -> None:
    policy = ScorpioPlus(make_limits(max_num_batched_tokens=4_000), LATENCY)
    old = make_request("old", tpot_s=0.040, ttft_s=1, output=50)
    running(policy, old)
    for _ in range(5):
        old.num_computed_tokens += 1
        old.give_token(0.0)  # 200 ms in hand now

    decision = step(policy, make_request("new", prompt=1_500, ttft_s=0.16, tpot_s=0.04))

    assert decision.tokens == {"old": 1, "new": 1_500}


def test_everybody_ends_even_those_that_are_lost() -> None:
    policy = ScorpioPlus(make_limits(max_num_seqs=32), LATENCY)
    requests = [
        make_request(str(n), prompt=100, output=40, predicted=2, tpot_s=0.012 + n % 3 / 50)
        for n in range(40)
    ]

    simulate(requests, policy, Machine(policy.limits, 1_000), lambda shape: 0.03)

    assert all(request.end_s is not None for request in requests)


def test_a_full_engine_refuses_at_once_who_would_get_no_place_in_time() -> None:
    policy = ScorpioPlus(make_limits(max_num_seqs=8), LATENCY)
    requests = [
        make_request(str(n), arrival_s=n / 50, prompt=10, output=50, ttft_s=0.3, tpot_s=1.0)
        for n in range(120)
    ]

    simulate(requests, policy, Machine(policy.limits, 1_000), lambda shape: 0.02)

    refused = [request for request in requests if request.rejection is not None]
    assert 60 < len(refused) < 110
    served = [request for request in requests if request.rejection is None]
    assert all(request.meets_ttft for request in served if request.arrival_s > 1)
    waited = sorted(request.end_s - request.arrival_s for request in refused)
    assert waited[len(waited) // 2] < 0.1


def test_a_full_kv_pool_refuses_at_once_who_would_get_no_blocks_in_time() -> None:
    policy = ScorpioPlus(make_limits(max_num_seqs=64, max_num_batched_tokens=256), LATENCY)
    requests = [
        make_request(str(n), arrival_s=n / 50, prompt=64, output=64, ttft_s=0.3, tpot_s=1.0)
        for n in range(120)
    ]

    simulate(requests, policy, Machine(policy.limits, 8 * 8), lambda shape: 0.02)

    refused = [request for request in requests if request.rejection is not None]
    assert 60 < len(refused) < 110
    served = [request for request in requests if request.rejection is None]
    assert all(request.meets_ttft for request in served if request.arrival_s > 1.5)
    waited = sorted(request.end_s - request.arrival_s for request in refused)
    assert waited[len(waited) // 2] < 0.1


def having_seen_one_leave_in_100_s(limits) -> ScorpioPlus:
    """It runs ``old``, which has 16 tokens now and 800 in the end, since second 100."""
    policy = ScorpioPlus(limits, LATENCY)
    gone = make_request("gone", prompt=16, output=9, tpot_s=1, ttft_s=1)
    running(policy, gone)
    step(policy)
    step(policy, now_s=100.0)
    policy.leave(gone)
    old = make_request(
        "old", arrival_s=100.0, prompt=16, output=784, predicted=784, tpot_s=1, ttft_s=1
    )
    running(policy, old, now_s=100.0)
    return policy


@pytest.mark.parametrize(("num_blocks", "is_refused"), [(60, True), (61, False)])
def test_blocks_that_others_will_grow_into_are_not_free(num_blocks: int, is_refused: bool) -> None:
    policy = having_seen_one_leave_in_100_s(make_limits(max_num_seqs=8))
    new = make_request("new", arrival_s=100.0, prompt=160, output=16, ttft_s=1, tpot_s=1)

    policy.arrive(new)
    decision = policy.decide(EngineView(100.0, num_blocks - 1, num_blocks))  # 50 + 11 blocks

    assert [rejection.request for rejection in decision.reject] == [new] * is_refused


def test_of_two_for_the_last_blocks_who_takes_more_makes_way() -> None:
    policy = having_seen_one_leave_in_100_s(make_limits(max_num_seqs=8))
    many = make_request("many", arrival_s=100.0, prompt=64, output=400, ttft_s=1, tpot_s=1)
    few = make_request("few", arrival_s=100.0, prompt=300, output=4, ttft_s=1.5, tpot_s=1)

    policy.arrive(many)
    policy.arrive(few)
    decision = policy.decide(EngineView(100.0, 79, 80))

    assert [rejection.request for rejection in decision.reject] == [many]
