"""Distributions are those of transformers' own logits processors."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serving.engine import sampling
from serving.engine.blocks import BlockPool
from serving.engine.params import SamplingParams
from serving.engine.sampling import sample, uniform
from serving.engine.sequence import Request, Sequence

SIZE = 50


def sequence_of(seed: int = 0, said: tuple[int, ...] = (), **params: object) -> Sequence:
    request = Request(
        request_id="r",
        prompt=(3, 4, 4),
        params=SamplingParams(**{"max_tokens": 100} | params),
        arrival_s=0.0,
    )
    sequence = Sequence(request, pool=BlockPool(8), block_size=4, seed=seed)
    sequence.tokens += said
    return sequence


def logits_of(seed: int, size: int = SIZE) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def expected_weights(logits: torch.Tensor, params: SamplingParams, tokens: list[int]):
    chain = LogitsProcessorList()
    if params.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    chain.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k > 0:
        chain.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0:
        chain.append(MinPLogitsWarper(params.min_p))
    return torch.softmax(chain(torch.tensor([tokens]), logits[None].clone())[0], -1)


FILTERS = [
    {},
    {"temperature": 0.6},
    {"top_k": 5},
    {"top_p": 0.8},
    {"min_p": 0.05},
    {"top_k": 20, "top_p": 0.9, "min_p": 0.02, "temperature": 1.5},
    {"repetition_penalty": 1.7, "top_p": 0.95},
]


@pytest.mark.parametrize("params", FILTERS, ids=str)
def test_frequencies_are_those_of_transformers(params: dict[str, float]) -> None:
    logits, count = logits_of(1), 4000
    sequences = [sequence_of(seed, (7,), **params) for seed in range(count)]

    draws = sample(sequences, logits.expand(count, -1).clone(), ())

    seen = Counter(draw.token for draw in draws)
    weights = expected_weights(logits, sequences[0].request.params, sequences[0].tokens)
    assert set(seen) <= set(weights.nonzero().flatten().tolist())
    frequencies = torch.tensor([seen[token] / count for token in range(SIZE)])
    assert (frequencies - weights).abs().sum() < 0.1


@settings(max_examples=60)
@given(
    st.integers(0, 1000),
    st.floats(0.05, 1),
    st.integers(0, 60),
    st.floats(0, 0.5),
    st.integers(1, 30),
)
def test_what_filters_leave_does_not_depend_on_how_many_candidates_are_looked_at(
    seed: int, top_p: float, top_k: int, min_p: float, candidates: int
) -> None:
    params = {"top_p": top_p, "top_k": top_k, "min_p": min_p}
    sequences = [sequence_of(seed + n, **params) for n in range(4)]
    logits = torch.stack([logits_of(seed + n) for n in range(4)])
    whole = sample(sequences, logits.clone(), ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "CANDIDATES", candidates)
        assert sample(sequences, logits.clone(), ()) == whole
    for row, draw in enumerate(whole):
        weights = expected_weights(logits[row], sequences[row].request.params, [0])
        assert weights[draw.token] > 0


def test_draws_do_not_depend_on_batch_mates() -> None:
    mine = [sequence_of(9, **params) for params in FILTERS]
    others = [sequence_of(n, **FILTERS[n % len(FILTERS)]) for n in range(10)]
    logits = torch.stack([logits_of(n) for n in range(17)])

    alone = [sample([each], logits[n : n + 1].clone(), ())[0] for n, each in enumerate(mine)]

    assert sample(mine + others, logits.clone(), ())[:7] == alone


def test_penalties_count_what_was_said() -> None:
    flat = torch.zeros(1, SIZE)
    flat[0, 7], flat[0, 8], flat[0, 4] = 2.0, 1.5, 1.9

    def best(**params: float) -> int:
        said = sequence_of(0, (7, 7, 8), temperature=0.0, **params)
        return sample([said], flat.clone(), ())[0].token

    assert best() == 7
    assert best(frequency_penalty=0.2) == 4, "the prompt does not count"
    assert best(presence_penalty=0.2) == 4
    assert best(presence_penalty=-1.0) == 7
    assert best(repetition_penalty=1.5) == 7
    assert best(repetition_penalty=1.5, logit_bias={9: 1.4}) == 9


def test_no_end_before_min_tokens() -> None:
    logits = torch.zeros(1, SIZE)
    logits[0, 2], logits[0, 5] = 9.0, 8.0

    def best(said: tuple[int, ...]) -> int:
        short = sequence_of(0, said, temperature=0.0, min_tokens=2, stop_token_ids=(5,))
        return sample([short], logits.clone(), (2,))[0].token

    assert best((6,)) not in {2, 5}
    assert best((6, 6)) == 2


def test_logprobs_are_the_models_own() -> None:
    logits = torch.stack([logits_of(1), logits_of(2)])
    told = sequence_of(3, temperature=0.2, logprobs=3, repetition_penalty=1.9)

    plain, draw = sample([sequence_of(1), told], logits.clone(), ())

    own = torch.log_softmax(logits[1], -1)
    assert plain.logprobs is None
    assert draw.logprobs is not None
    assert draw.logprobs.logprob == pytest.approx(own[draw.token].item())
    best = own.topk(3)
    assert [token for token, _ in draw.logprobs.top] == best.indices.tolist()
    assert [each for _, each in draw.logprobs.top] == pytest.approx(best.values.tolist())


def test_uniform_numbers_are_uniform() -> None:
    numbers = torch.tensor([uniform(seed, n) for seed in range(-20, 20) for n in range(100)])

    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02
    assert len(set(numbers.tolist())) > 3990
