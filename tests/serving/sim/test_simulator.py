"""Conservation laws, and queues whose answers are known in closed form."""

import random
from math import inf

import pytest

from serving.sched.decision import Decision
from serving.sched.named import create_policy
from serving.sched.orders import Fcfs
from serving.sim.arrivals import Arrival, poisson
from serving.sim.machine import Machine, PromiseBroken
from serving.sim.simulator import Stuck, simulate
from serving.sim.workload import make_requests
from tests.fixtures.serving import TEN_MS_STEPS, make_limits, make_request


def one_at_a_time(seconds: float, rate: float, count: int, seed: int = 1):
    """A server that takes one request after another and the same time for each: M/D/1."""
    bodies = [Arrival(0.0, 8, 1)]
    requests = make_requests(poisson(bodies, rate, count, random.Random(seed)), random.Random(0))
    policy = create_policy("fcfs", make_limits(max_num_seqs=1), TEN_MS_STEPS)
    end_s = simulate(requests, policy, Machine(policy.limits, 100), lambda shape: seconds)
    return requests, end_s


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waiting_in_an_m_d_1_queue_is_pollaczek_and_khinchins(load: float) -> None:
    requests, _ = one_at_a_time(1.0, rate=load, count=15_000)

    mean_s = sum(request.ttft_s or inf for request in requests) / len(requests)

    assert mean_s == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)


def test_littles_law_holds() -> None:
    requests, end_s = one_at_a_time(1.0, rate=0.7, count=5_000)
    events = sorted(
        [(request.arrival_s, 1) for request in requests]
        + [(request.end_s or inf, -1) for request in requests]
    )
    area = present = 0.0
    last_s = 0.0
    for at_s, change in events:
        area += present * (at_s - last_s)
        present, last_s = present + change, at_s
    mean_time_s = sum((r.end_s or inf) - r.arrival_s for r in requests) / len(requests)

    assert present == 0
    assert area / end_s == pytest.approx(len(requests) / end_s * mean_time_s)


def test_an_idle_engine_serves_at_the_speed_of_its_steps() -> None:
    request = make_request("r", prompt=100, output=11, arrival_s=5.0)
    policy = Fcfs(make_limits(), TEN_MS_STEPS)

    end_s = simulate([request], policy, Machine(policy.limits, 100), TEN_MS_STEPS.step_s)

    assert end_s == pytest.approx(5.11)
    assert request.ttft_s == pytest.approx(0.010)
    assert request.tpot_s == pytest.approx(0.010)
    assert request.max_gap_s == pytest.approx(0.010)


def test_one_token_answers_meet_any_tpot() -> None:
    request = make_request("r", output=1, tpot_s=1e-9, ttft_s=1.0)
    policy = Fcfs(make_limits(), TEN_MS_STEPS)

    simulate([request], policy, Machine(policy.limits, 100), TEN_MS_STEPS.step_s)

    assert (request.tpot_s, request.is_good) == (0.0, True)


def test_prediction_learns_from_who_ended_and_observers_see_each_step() -> None:
    from serving.sched.length import GroupMean

    requests = [make_request(str(n), arrival_s=float(n), output=7, max_tokens=99) for n in range(9)]
    policy = Fcfs(make_limits(), TEN_MS_STEPS)
    seen = []

    simulate(
        requests, policy, Machine(policy.limits, 100), TEN_MS_STEPS.step_s,
        predictor=GroupMean(start=50), observe=lambda shape, seconds: seen.append(seconds),
    )  # fmt: skip

    assert [request.predicted_tokens for request in requests][:3] == [50, 28, 21]
    assert len(seen) == 9 * 7


class Scripted(Fcfs):
    """Decides whatever a test wants."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(make_limits(), TEN_MS_STEPS)
        self.decision = decision

    def decide(self, engine) -> Decision:
        del engine
        return self.decision


@pytest.mark.parametrize(
    ("tokens", "admit", "broken"),
    [
        ({"r": 17}, True, "17 tokens of 16 pending"),
        ({"r": 16}, False, "does not run"),
        ({}, True, "without a token"),
    ],
)
def test_broken_promises_are_found(tokens, admit: bool, broken: str) -> None:
    request = make_request("r")
    policy = Scripted(Decision(admit=[request] if admit else [], tokens=tokens))

    with pytest.raises(PromiseBroken, match=broken):
        simulate([request], policy, Machine(policy.limits, 100), TEN_MS_STEPS.step_s)


def test_a_policy_that_forgets_somebody_is_found() -> None:
    with pytest.raises(Stuck, match="leaves 1 waiting"):
        simulate(
            [make_request("r")], Scripted(Decision()), Machine(make_limits(), 9),
            TEN_MS_STEPS.step_s,
        )  # fmt: skip


def test_policies_may_ask_to_be_asked_again() -> None:
    request = make_request("r", output=1)
    policy = Scripted(Decision(again_s=3.0))
    late = Decision(admit=[request], tokens={"r": 16})
    answers = iter([Decision(again_s=3.0), late, Decision()])
    policy.decide = lambda engine: next(answers)

    assert simulate(
        [request], policy, Machine(policy.limits, 9), TEN_MS_STEPS.step_s
    ) == pytest.approx(3.01)


def test_named_prefixes_are_computed_once_and_evicted_when_room_lacks() -> None:
    names = [number.to_bytes(8, "little") for number in range(9)]
    policy = create_policy("fcfs-chunked", make_limits(prefix_cache=True), TEN_MS_STEPS)
    machine = Machine(policy.limits, 12)
    shared, other = (names[0], names[1], names[2]), (names[3],)
    requests = [
        make_request("first", prompt=60, prefix=shared),
        make_request("again", prompt=60, prefix=shared, arrival_s=1.0),
        make_request("begins alike", prompt=60, prefix=(*shared[:2], names[4]), arrival_s=2.0),
        make_request("exactly", prompt=48, prefix=shared, arrival_s=3.0),
        make_request("large", prompt=170, prefix=other, arrival_s=4.0),
        make_request("late", prompt=60, prefix=shared, arrival_s=5.0),
    ]
    shapes = []

    simulate(
        requests, policy, machine, TEN_MS_STEPS.step_s,
        observe=lambda shape, _: shapes.append(shape.prefill_tokens),
    )  # fmt: skip

    # Of a prompt that is there to its end the last block is computed anew; of a chain of blocks
    # the first one is evicted last.
    assert [count for count in shapes if count] == [60, 12, 28, 16, 128, 42, 44]
    assert machine.num_found_tokens == 48 + 32 + 32 + 16
    assert machine.pool.num_free == 12
    machine.pool.check()


def test_a_found_prefix_is_known_before_admission() -> None:
    latency = type(TEN_MS_STEPS)(a=0, b=0, c=0, d=0.01, theta=0, phi=0, alpha=0.01, beta=0)
    names = (b"a", b"b", b"c")
    for prefix, found in ((names, None), ((), "ttft_unattainable")):
        policy = create_policy("ttft-guard", make_limits(prefix_cache=True), latency)
        requests = [
            make_request("first", prompt=60, prefix=prefix),
            make_request("again", prompt=60, prefix=prefix, arrival_s=1.0, ttft_s=0.2),
        ]

        simulate(requests, policy, Machine(policy.limits, 12), latency.step_s)

        rejection = requests[1].rejection
        assert (rejection and str(rejection.reason)) == found
