"""What is in the prefix cache is no work: policies know that before a request is admitted."""

import pytest

from serving.engine.engine import Engine
from serving.engine.output import Refused
from serving.engine.params import SamplingParams
from serving.engine.sequence import Request
from serving.sched.engine import EngineView, Limits
from serving.sched.latency import FittedLatency
from serving.sched.named import create_policy
from serving.sched.queueing import LOOKED_AT
from serving.sched.request import Slo, num_pending_tokens
from tests.fixtures.engines import answers_of, ask, engine_of, run_to_end, tokens_by_request
from tests.fixtures.tiny_models import prompts_of, tiny_model

A_SECOND_A_TOKEN = FittedLatency(a=0, b=0, c=0, d=0.1, theta=0, phi=0, alpha=1, beta=0)
LIMITS = Limits(max_num_seqs=2, max_num_batched_tokens=16, block_size=4, prefix_cache=True)
[PROMPT, OTHER] = prompts_of((41, 41))


def engine_with(policy: str, limits: Limits = LIMITS, num_blocks: int = 64) -> Engine:
    made = create_policy(policy, limits, A_SECOND_A_TOKEN)
    return engine_of(tiny_model(), made, num_blocks=num_blocks)


def due_in(engine: Engine, name: str, prompt: list[int], ttft_s: float) -> None:
    engine.add(
        Request(
            request_id=name,
            prompt=tuple(prompt),
            params=SamplingParams(temperature=0, max_tokens=4),
            arrival_s=engine.clock(),
            slo=Slo(ttft_s=ttft_s),
        )
    )


@pytest.mark.parametrize(
    "policy", ["fcfs-reject", "mooncake", "ttft-guard", "scorpio", "scorpio-code", "scorpio-plus"]
)
def test_a_cached_prompt_is_in_time_where_another_is_refused(policy: str) -> None:
    engine = engine_with(policy)
    answers_of(engine, [PROMPT], 4)

    due_in(engine, "cached", PROMPT, 20.0)
    served = tokens_by_request(run_to_end(engine))
    due_in(engine, "other", OTHER, 20.0)
    [refused] = run_to_end(engine)

    assert len(served["cached"]) == 4
    assert isinstance(refused, Refused)


def test_hits_come_while_a_request_waits_and_go() -> None:
    engine = engine_with("fcfs", Limits(
        max_num_seqs=1, max_num_batched_tokens=16, block_size=4, prefix_cache=True
    ), num_blocks=16)  # fmt: skip
    policy = engine.policy
    ask(engine, "first", PROMPT, 4)
    engine.step()
    ask(engine, "second", PROMPT, 4)
    told = []
    while any(each.request_id == "first" for each in engine.sequences):
        engine.step()
        told.append(policy.queue_s())

    assert told == sorted(told, reverse=True)
    assert (told[0], told[-2]) == (41 - 16, 1)
    [second] = engine.sequences
    assert (num_pending_tokens(second), second.num_blocks) == (1, 0)
    engine.blocks.release(engine.blocks.allocate(16))
    assert num_pending_tokens(second) == 41


def test_a_long_line_is_looked_at_in_turn() -> None:
    engine = engine_with("fcfs-chunked", num_blocks=256)
    answers_of(engine, [PROMPT], 2)
    engine.blocks.release(engine.blocks.allocate(256))
    count = 2 * LOOKED_AT + 2
    for number in range(count):
        ask(engine, str(number), PROMPT, 40)
    policy = engine.policy
    engine.step()
    told = []
    for _ in range(4):
        policy.decide(EngineView(0.0, num_free_blocks=0, num_blocks=256))
        told.append(int((policy.waiting.pending_tokens < 41).sum()))

    assert told[0] < told[1] <= told[2]
    assert told[-1] == len(policy.waiting)


def test_chunks_are_of_what_is_left_and_shared_blocks_take_no_room() -> None:
    """Two that share 10 of 12 blocks run at once in a pool of 16."""
    engine = engine_with("fcfs-chunked", num_blocks=16)
    ask(engine, "first", PROMPT, 7)
    for _ in range(3):
        engine.step()
    ask(engine, "second", PROMPT, 7)

    engine.step()

    assert engine.policy.num_running == 2
    assert engine.blocks.num_held == 12
    assert len(tokens_by_request(run_to_end(engine))["second"]) == 7 - 1
