"""Choices of one prompt: computed once, and every answer as if it had been alone."""

from dataclasses import replace

import pytest

from serving.engine.engine import Engine
from serving.engine.output import Failed, Refused
from serving.engine.params import SamplingParams
from serving.engine.sequence import Request
from serving.sched.decision import Decision, Reason, Rejection
from serving.sched.engine import EngineView, Limits
from serving.sched.named import SERVED, create_policy
from tests.fixtures.engines import (
    Scripted,
    answers_of,
    engine_of,
    flat_latency,
    run_to_end,
    tokens_by_request,
)
from tests.fixtures.tiny_models import generated, prompts_of, tiny_model

[PROMPT] = prompts_of((22,))
NAMES = ("0", "1", "2", "3")


def ask_siblings(engine: Engine, count: int = 8, **params: object) -> None:
    """Four choices; a seed is that of the first one."""
    for number, name in enumerate(NAMES):
        chosen = SamplingParams(**{"temperature": 0.0, "max_tokens": count} | params)
        if chosen.seed is not None:
            chosen = replace(chosen, seed=chosen.seed + number)
        engine.add(
            Request(
                request_id=name,
                prompt=tuple(PROMPT),
                params=chosen,
                arrival_s=engine.clock(),
                sibling=None if name == "0" else "0",
            )
        )


def counting(model, policy=None, **options) -> tuple[Engine, list[int]]:
    """An engine, and the prompt tokens of each of its steps."""
    counts: list[int] = []
    engine = engine_of(
        model, policy, observe=lambda shape, _: counts.append(shape.prefill_tokens), **options
    )
    return engine, counts


def test_the_prompt_is_computed_once() -> None:
    model = tiny_model()
    engine, counts = counting(model)
    ask_siblings(engine)
    assert engine.num_waiting == 4

    answers = tokens_by_request(run_to_end(engine))

    assert [answers[name] for name in NAMES] == generated(model, [PROMPT], 8) * 4
    assert counts[:2] == [22, 3 * 2]  # blocks of 4: 20 of 22 tokens are found
    assert sum(counts) == 22 + 3 * 2
    assert engine.num_waiting == engine.blocks.num_held == 0


@pytest.mark.parametrize("seed", [7, None])
def test_draws_are_those_of_each_alone(seed: int | None) -> None:
    model = tiny_model()
    together, alone = engine_of(model), engine_of(model)
    params = {"temperature": 1.0, "seed": seed}
    ask_siblings(together, **params)
    for number, name in enumerate(NAMES):
        chosen = SamplingParams(
            temperature=1.0, max_tokens=8, seed=None if seed is None else seed + number
        )
        alone.add(Request(request_id=name, prompt=tuple(PROMPT), params=chosen, arrival_s=0.0))

    answers = tokens_by_request(run_to_end(together))

    assert answers == tokens_by_request(run_to_end(alone))
    assert len({tuple(answer) for answer in answers.values()}) > 1


@pytest.mark.parametrize("name", SERVED)
def test_under_every_policy_and_a_small_pool(name: str) -> None:
    model = tiny_model()
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=10, block_size=4, prefix_cache=True)
    engine = engine_of(model, create_policy(name, limits, flat_latency(1e-4)), num_blocks=13)
    ask_siblings(engine, count=10)

    answers = tokens_by_request(run_to_end(engine))

    assert [answers[each] for each in NAMES] == generated(model, [PROMPT], 10) * 4


@pytest.mark.parametrize("gone", ["0", "2"])
def test_who_comes_first_may_go(gone: str) -> None:
    model = tiny_model()
    engine = engine_of(model, Scripted(chunk=5))
    ask_siblings(engine)
    events = engine.step()

    engine.abort(gone)

    answers = tokens_by_request([*events, *run_to_end(engine)])
    left = [name for name in NAMES if name != gone]
    assert [answers[name] for name in left] == generated(model, [PROMPT], 8) * 3
    assert engine.blocks.num_held == 0
    assert engine.is_idle


def test_who_is_refused_is_refused_with_all() -> None:
    def script(policy: Scripted, _: EngineView) -> Decision:
        [first] = policy.waiting
        policy.waiting = []
        return Decision(reject=[Rejection(first, Reason.TTFT, 3.0)])

    engine = engine_of(tiny_model(), Scripted(script=script))
    ask_siblings(engine)

    assert engine.step() == [Refused(name, Reason.TTFT, 3.0) for name in NAMES]
    assert engine.is_idle
    assert engine.num_waiting == 0


def test_who_fails_leaves_the_prompt_to_the_next() -> None:
    model = tiny_model()
    engine = engine_of(model)
    run, fails = engine.runner.run, iter([True])

    def failing(parts):
        if next(fails, False):
            raise RuntimeError("once")
        return run(parts)

    engine.runner.run = failing
    ask_siblings(engine)

    [failed, *events] = run_to_end(engine)

    assert isinstance(failed, Failed)
    assert failed.request_id == "0"
    answers = tokens_by_request(events)
    assert [answers[name] for name in NAMES[1:]] == generated(model, [PROMPT], 8) * 3


def test_a_sibling_that_comes_late_needs_not_wait() -> None:
    model = tiny_model()
    engine = engine_of(model)
    [expected] = generated(model, [PROMPT], 8)
    assert answers_of(engine, [PROMPT]) == [expected]

    engine.add(
        Request(
            request_id="late",
            prompt=tuple(PROMPT),
            params=SamplingParams(temperature=0, max_tokens=8),
            arrival_s=0.0,
            sibling="0",
        )
    )

    assert tokens_by_request(run_to_end(engine)) == {"late": expected}
