from serving.engine.profile import fitted, measure, shape_of
from serving.engine.runner import Runner
from serving.sched.engine import Limits
from tests.fixtures.engines import ask, engine_of
from tests.fixtures.tiny_models import prompts_of, tiny_model


def test_every_shape_that_fits_is_measured_and_fitted() -> None:
    runner = Runner(tiny_model(), num_blocks=24, block_size=4)
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=16, block_size=4)
    ticks = iter(range(1, 10_000))

    samples = measure(runner, limits, repeats=1, clock=lambda: next(ticks) * 0.5)

    assert {sample.duration_s for sample in samples} == {0.5}
    shapes = [sample.shape for sample in samples]
    assert {shape.num_decodes for shape in shapes} == {0, 1, 2, 4}
    assert max(shape.context_tokens for shape in shapes) == 4 * 16
    assert max(shape.prefill_tokens for shape in shapes) == 16
    latency, told = fitted(samples)
    assert told.mape < 0.01
    assert abs(latency.step_s(shapes[0]) - 0.5) < 0.01


def test_steps_are_observed_as_they_are() -> None:
    seen = []
    engine = engine_of(tiny_model(), observe=lambda shape, seconds: seen.append((shape, seconds)))
    for number, prompt in enumerate(prompts_of((6, 3))):
        ask(engine, str(number), prompt, 2)
    engine.step()
    engine.step()

    (first, _), (second, _) = seen
    assert (first.num_decodes, first.prefill_tokens) == (0, 9)
    assert (second.num_decodes, second.context_tokens) == (2, 11)
    assert shape_of([]).num_decodes == 0
