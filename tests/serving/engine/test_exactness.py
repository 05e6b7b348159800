"""Greedy answers are those of transformers' ``generate``, token by token, whatever happens."""

import pytest
import torch

from serving.sched.decision import Decision
from serving.sched.engine import EngineView, Limits
from serving.sched.named import SERVED, create_policy
from tests.fixtures.engines import (
    Scripted,
    answers_of,
    ask,
    engine_of,
    flat_latency,
    run_to_end,
    tokens_by_request,
)
from tests.fixtures.tiny_models import CONFIGS, generated, prompts_of, tiny_model

LENGTHS = (5, 1, 23, 12, 8, 17)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_mixed_lengths_whole_and_in_chunks(model_type: str) -> None:
    model = tiny_model(model_type)
    prompts = prompts_of(LENGTHS)
    expected = generated(model, prompts, 10)

    assert answers_of(engine_of(model), prompts, 10) == expected
    assert answers_of(engine_of(model, Scripted(chunk=3)), prompts, 10) == expected


def test_prefix_hits() -> None:
    model = tiny_model()
    [shared, *tails] = prompts_of((21, 3, 6, 1))
    prompts = [shared + tail for tail in tails] + [shared[:20], shared]
    engine = engine_of(model)

    answers = [answers_of(engine, [prompt])[0] for prompt in prompts]

    assert answers == generated(model, prompts, 8)
    assert engine.num_found_tokens == 0 + 20 + 20 + 16 + 20
    assert engine.blocks.num_held == 0


def test_answers_are_found_again_as_prefixes() -> None:
    model = tiny_model()
    [prompt] = prompts_of((9,))
    engine = engine_of(model)
    [first] = answers_of(engine, [prompt])
    dialogue = [*prompt, *first, 7, 8, 9]

    assert answers_of(engine, [dialogue]) == generated(model, [dialogue], 8)
    assert engine.num_found_tokens == 16


def test_preempted_answers_are_recomputed() -> None:
    model = tiny_model("mistral")
    prompts = prompts_of(LENGTHS)

    def script(policy: Scripted, _: EngineView) -> Decision:
        if policy.step % 3 == 0:
            return policy.preempt(*policy.running[policy.step % 4 :: 4])
        return policy.run_all()

    engine = engine_of(model, Scripted(chunk=5, script=script))

    assert answers_of(engine, prompts, 10) == generated(model, prompts, 10)
    assert engine.num_preemptions > 4


def test_skipped_steps_change_nothing() -> None:
    model = tiny_model("qwen3")
    prompts = prompts_of(LENGTHS)

    def script(policy: Scripted, _: EngineView) -> Decision:
        return policy.run_all(skipped=policy.running[policy.step % 3 :: 3])

    engine = engine_of(model, Scripted(chunk=4, script=script))

    assert answers_of(engine, prompts, 10) == generated(model, prompts, 10)


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("num_blocks", [16, 64])
def test_every_policy(name: str, num_blocks: int) -> None:
    model = tiny_model()
    prompts = prompts_of(LENGTHS)
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=24, block_size=4)
    flat = flat_latency(1e-4)
    engine = engine_of(model, create_policy(name, limits, flat), num_blocks=num_blocks)

    assert answers_of(engine, prompts, 10) == generated(model, prompts, 10)


def test_pool_too_small_for_all_at_once() -> None:
    model = tiny_model()
    prompts = prompts_of(LENGTHS)
    engine = engine_of(model, num_blocks=12)

    assert answers_of(engine, prompts, 10) == generated(model, prompts, 10)


def test_pool_grows_and_shrinks_under_way() -> None:
    model = tiny_model("gemma2")
    prompts = prompts_of(LENGTHS)
    sizes = iter((90, 40, 64, 33, 50))

    def script(policy: Scripted, _: EngineView) -> Decision:
        if policy.step % 2 == 0 and (size := next(sizes, None)):
            before = {each.request_id: contents(each) for each in engine.sequences}
            engine.resize_pool(size)
            assert engine.runner.pool.num_blocks == engine.blocks.num_blocks == size
            for each in engine.sequences:
                assert torch.equal(contents(each), before[each.request_id])
        return policy.run_all()

    engine = engine_of(model, Scripted(script=script), num_blocks=60)

    def contents(sequence) -> torch.Tensor:
        layers = engine.runner.pool.layers
        kept = [part[sequence.blocks].flatten() for layer in layers for part in layer]
        return torch.cat(kept)

    assert answers_of(engine, prompts, 12) == generated(model, prompts, 12)


def test_answers_move_to_another_engine() -> None:
    model = tiny_model()
    prompts = prompts_of(LENGTHS)
    engine, other = engine_of(model), engine_of(model, block_size=16)
    for number, prompt in enumerate(prompts):
        ask(engine, str(number), prompt, 10)
    events = [event for _ in range(4) for event in engine.step()]

    for sequence in list(engine.sequences):
        other.adopt(engine.hand_over(sequence.request_id))

    answers = tokens_by_request([*events, *run_to_end(other)])
    assert [answers[str(number)] for number in range(6)] == generated(model, prompts, 10)
    assert engine.is_idle
    assert engine.blocks.num_held == 0


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "mixtral"])
def test_bfloat16_takes_the_likeliest_token_up_to_rounding(model_type: str) -> None:
    """In so few bits padding alone moves what ``generate`` says: each token is judged by itself."""
    model = tiny_model(model_type, dtype=torch.bfloat16)
    reference = tiny_model(model_type, dtype=torch.bfloat16)
    prompts = prompts_of(LENGTHS)

    answers = answers_of(engine_of(model, Scripted(chunk=6)), prompts)

    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + answer])).logits[0].float()
        said = logits[len(prompt) - 1 : -1]
        best = said.max(-1).values
        taken = said.gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert (best - taken <= best.abs() * 2**-5).all()
