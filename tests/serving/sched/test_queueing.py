"""What every policy promises, on engines that are too small for their requests."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.sched.decision import Decision, Reason
from serving.sched.engine import EngineView
from serving.sched.named import POLICIES, create_policy
from serving.sched.orders import Fcfs, FcfsChunked, Priority
from serving.sim.machine import Machine
from serving.sim.request import SimRequest
from serving.sim.simulator import simulate
from tests.fixtures.serving import TEN_MS_STEPS, make_limits, make_request

PLENTY = EngineView(now_s=0.0, num_free_blocks=1_000, num_blocks=1_000)


def ids(requests: list) -> list[str]:
    return [request.request_id for request in requests]


requests_strategy = st.lists(
    st.builds(
        lambda number, **rest: make_request(str(number), **rest),
        number=st.uuids(),
        arrival_s=st.floats(0, 1),
        prompt=st.integers(1, 60),
        output=st.integers(1, 30),
        predicted=st.integers(1, 30),
        priority=st.integers(-2, 2),
        ttft_s=st.none() | st.floats(0.01, 2),
        tpot_s=st.none() | st.floats(0.005, 0.1),
    ),
    max_size=25,
)


@pytest.mark.parametrize("name", POLICIES)
@given(
    requests=requests_strategy,
    num_blocks=st.integers(2, 40),
    max_num_seqs=st.integers(1, 8),
    max_num_batched_tokens=st.integers(8, 64),
    chunked_prefill=st.booleans(),
    watermark_blocks=st.integers(0, 2),
    max_num_waiting=st.none() | st.integers(1, 10),
)
@settings(max_examples=40, deadline=None)
def test_every_request_ends_once_within_all_limits(
    name: str, requests: list[SimRequest], num_blocks: int, **limits: int
) -> None:
    policy = create_policy(name, make_limits(block_size=4, **limits), TEN_MS_STEPS, oracle=True)
    machine = Machine(policy.limits, num_blocks)

    simulate(requests, policy, machine, TEN_MS_STEPS.step_s)

    assert machine.pool.num_free == num_blocks
    assert policy.num_waiting == policy.num_running == 0
    for request in requests:
        assert request.end_s is not None
        if request.rejection is None:
            assert request.num_generated_tokens == request.num_output_tokens
        else:
            assert request.num_generated_tokens == request.num_computed_tokens == 0


def step(policy: Fcfs | FcfsChunked, *arriving: SimRequest, view: EngineView = PLENTY) -> Decision:
    for request in arriving:
        policy.arrive(request)
    return policy.decide(view)


def started(policy, *requests: SimRequest) -> None:
    """Bring requests into decode."""
    step(policy, *requests)
    for request in requests:
        request.num_computed_tokens = request.num_prompt_tokens
        request.num_blocks = -(-request.num_prompt_tokens // 16)
        request.give_token(0.0)


def test_prefill_first_interrupts_decodes() -> None:
    policy = Fcfs(make_limits(), TEN_MS_STEPS)
    started(policy, make_request("old"))

    assert step(policy, make_request("new", prompt=30)).tokens == {"new": 30}


def test_chunked_prefill_fills_what_decodes_leave() -> None:
    policy = FcfsChunked(make_limits(max_num_batched_tokens=64), TEN_MS_STEPS)
    started(policy, make_request("old"))

    assert step(policy, make_request("new", prompt=100)).tokens == {"old": 1, "new": 63}


def test_prefill_first_cuts_only_what_no_step_can_hold() -> None:
    policy = Fcfs(make_limits(max_num_batched_tokens=64), TEN_MS_STEPS)
    short, fits, long = (make_request(str(n), prompt=n) for n in (40, 60, 100))

    assert step(policy, short, fits, long).tokens == {"40": 40}
    short.num_computed_tokens = 40
    short.give_token(0.0)
    assert step(policy).tokens == {"60": 60, "100": 4}


def test_last_in_order_is_preempted_when_kv_blocks_run_out() -> None:
    policy = Priority(make_limits(), TEN_MS_STEPS)
    urgent, idle = make_request("urgent", priority=-1), make_request("idle", arrival_s=-1.0)
    started(policy, urgent, idle)

    decision = policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=2))

    assert ids(decision.preempt) == ["idle"]
    assert decision.tokens == {"urgent": 1}


def test_preempted_keeps_its_place_and_its_tokens() -> None:
    policy = FcfsChunked(make_limits(), TEN_MS_STEPS)
    first, second = make_request("first"), make_request("second", arrival_s=1.0)
    started(policy, first, second)
    policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=2))
    second.num_computed_tokens = second.num_blocks = 0

    decision = step(policy, make_request("third", arrival_s=2.0))

    assert decision.tokens == {"first": 1, "second": 17, "third": 16}


def test_prompt_under_way_keeps_the_kv_blocks_it_will_need() -> None:
    policy = FcfsChunked(make_limits(max_num_batched_tokens=64), TEN_MS_STEPS)
    long = make_request("long", prompt=160)
    step(policy, long, view=EngineView(0.0, num_free_blocks=12, num_blocks=12))
    long.num_computed_tokens, long.num_blocks = 64, 4

    decision = policy.decide(EngineView(0.1, num_free_blocks=8, num_blocks=12))
    assert decision.tokens == {"long": 64}
    long.num_computed_tokens, long.num_blocks = 128, 8
    three_blocks, two_blocks = make_request("3", prompt=48), make_request("2", prompt=32)

    decision = step(policy, three_blocks, view=EngineView(0.2, num_free_blocks=4, num_blocks=12))
    assert decision.tokens == {"long": 32}
    policy.leave(three_blocks)
    decision = step(policy, two_blocks, view=EngineView(0.2, num_free_blocks=4, num_blocks=12))
    assert decision.tokens["2"] == 32


def test_what_never_fits_is_refused_for_good() -> None:
    policy = Fcfs(make_limits(), TEN_MS_STEPS)

    decision = step(policy, make_request("big", prompt=100), view=EngineView(0.0, 4, 4))

    [rejection] = decision.reject
    assert (rejection.reason, rejection.retry_after_s) == (Reason.LENGTH, None)


def test_full_queue_says_when_to_come_back() -> None:
    latency = type(TEN_MS_STEPS)(a=0, b=0, c=0, d=0.01, theta=0, phi=0.01, alpha=0.001, beta=0.01)
    policy = Fcfs(make_limits(max_num_seqs=1, max_num_waiting=1), latency)
    started(policy, make_request("runs"))

    decision = step(policy, make_request("waits", prompt=50), make_request("refused"))

    [rejection] = decision.reject
    assert rejection.request.request_id == "refused"
    assert rejection.reason == Reason.QUEUE
    assert rejection.retry_after_s == pytest.approx(0.050)


def test_cancelled_requests_are_forgotten_wherever_they_are() -> None:
    policy = Fcfs(make_limits(max_num_seqs=1), TEN_MS_STEPS)
    runs, waits, arrives = (make_request(name) for name in ("runs", "waits", "arrives"))
    started(policy, runs)
    step(policy, waits)
    policy.arrive(arrives)

    for request in (runs, waits, arrives, runs):
        policy.leave(request)

    assert policy.num_running == policy.num_waiting == 0
    assert policy.decide(PLENTY) == Decision()


def test_engine_that_drops_a_running_request_gets_it_back_in_order() -> None:
    policy = FcfsChunked(make_limits(), TEN_MS_STEPS)
    dropped = make_request("dropped")
    started(policy, dropped)
    policy.requeue(dropped)
    dropped.num_computed_tokens = dropped.num_blocks = 0

    decision = step(policy, make_request("new", arrival_s=1.0))

    assert ids(decision.admit) == ["dropped", "new"]
    assert decision.tokens["dropped"] == 17


def test_shrunken_pool_takes_from_the_last_rather_than_stand_still() -> None:
    policy = FcfsChunked(make_limits(max_num_batched_tokens=64), TEN_MS_STEPS)
    first, last = make_request("first", prompt=60), make_request("last", prompt=100, arrival_s=1.0)
    step(policy, first, last)
    first.num_computed_tokens, first.num_blocks = 60, 4
    first.give_token(0.0)
    last.num_computed_tokens, last.num_blocks = 4, 1
    policy.leave(first)

    decision = policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=1))

    assert ids(decision.preempt) == ["last"]


@pytest.mark.parametrize("name", ["fcfs-chunked", "scorpio-plus"])
def test_preempted_prompt_counts_whole_again(name: str) -> None:
    policy = create_policy(name, make_limits(), TEN_MS_STEPS)
    first, second = make_request("first"), make_request("second", arrival_s=1.0)
    started(policy, first, second)

    decision = policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=2))
    assert ids(decision.preempt) == ["second"]
    assert policy.num_waiting == 1
    second.num_computed_tokens = second.num_blocks = 0
    policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=2))

    assert policy.waiting.pending_tokens.tolist() == [17]


def test_preempted_and_cancelled_before_the_next_step() -> None:
    policy = FcfsChunked(make_limits(), TEN_MS_STEPS)
    first, second = make_request("first"), make_request("second", arrival_s=1.0)
    started(policy, first, second)
    policy.decide(EngineView(1.0, num_free_blocks=0, num_blocks=2))

    policy.leave(second)

    assert policy.num_waiting == 0
    assert policy.decide(PLENTY).tokens == {"first": 1}
