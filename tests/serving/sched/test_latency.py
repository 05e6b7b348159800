"""The step-time models, and the chunk they leave room for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape
from tests.fixtures.serving import make_request

MODEL = FittedLatency(
    a=6e-8, b=5e-5, c=1e-7, d=0.013, theta=100, phi=0.014, alpha=7e-5, beta=0.0075, e=3e-9
)


def test_decodes_alone_and_prompts_alone_are_the_papers() -> None:
    decodes = StepShape(num_decodes=10, context_tokens=5_000)

    assert MODEL.step_s(decodes) == pytest.approx(6e-8 * 5_000 + 5e-4 + 1e-7 * 500 + 0.013)
    assert MODEL.step_s(StepShape(prefill_tokens=100)) == 0.014
    assert MODEL.step_s(StepShape(prefill_tokens=1_000)) == pytest.approx(0.0775)
    assert MODEL.step_s(StepShape()) == 0


def test_mixed_steps_share_the_linear_part_and_add_attention() -> None:
    mixed = StepShape(
        num_decodes=10, context_tokens=5_000, prefill_tokens=990, pairs_behind=1_000_000
    )

    expected = 7e-5 * 1_000 + 0.0075 + 6e-8 * 5_000 + 1e-7 * 500 + 3e-3
    assert MODEL.step_s(mixed) == pytest.approx(expected)


def test_chunks_behind_others_count_what_they_attend_to() -> None:
    request = make_request("r", prompt=1_000)
    request.num_computed_tokens = 600
    shape = StepShape()
    shape.add(request, 300)

    assert (shape.prefill_tokens, shape.pairs_behind, shape.pairs_within) == (300, 180_000, 45_000)


def test_mixed_steps_where_arithmetic_hides_behind_nothing_pay_both() -> None:
    mixed = StepShape(num_decodes=10, context_tokens=5_000, prefill_tokens=990)
    model = replace(MODEL, f=1.0, g=0.002)

    expected = 5e-4 + 0.013 + 7e-5 * 990 + 6e-8 * 5_000 + 1e-7 * 500 + 0.002
    assert model.step_s(mixed) == pytest.approx(expected)
    assert model.step_s(mixed) - replace(model, f=0.0).step_s(mixed) == pytest.approx(
        model.hidden_s(mixed)
    )


@given(
    seconds=st.floats(0.001, 0.5),
    num_decodes=st.integers(0, 200),
    length=st.integers(1, 4_000),
    f=st.sampled_from([0.0, 0.3, 1.0]),
    g=st.sampled_from([0.0, 0.002]),
)
def test_room_for_prompts_is_the_most_that_keeps_the_time(
    seconds, num_decodes, length, f, g
) -> None:
    context = num_decodes * length
    model = replace(MODEL, f=f, g=g)

    room = model.prompt_tokens_within(seconds, num_decodes, context)

    def step_s(count: int) -> float:
        return model.step_s(
            StepShape(num_decodes=num_decodes, context_tokens=context, prefill_tokens=count)
        )

    if room:
        assert step_s(room) <= seconds + 1e-9
    assert step_s(room + 2) > seconds - 1e-9


def test_many_at_once_are_as_each() -> None:
    counts = np.array([1.0, 100.0, 101.0, 5_000.0])

    assert MODEL.prefills_s(counts).tolist() == [MODEL.prefill_s(int(n)) for n in counts]
    assert MODEL.decodes_s(counts, counts).tolist() == [MODEL.decode_s(n, n) for n in counts]
