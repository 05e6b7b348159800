"""Logits to tokens: penalties, filters and draws, each answer for itself whoever shares the batch.

A draw is one number in [0, 1) made from the request's seed and the token's place in the answer. No
generator has a state: preemption, skipped steps and a move to another engine change nothing.
"""

from collections import Counter
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from hashlib import blake2b

import torch

from serving.engine.sequence import Sequence

CANDIDATES = 1024
"""Likeliest tokens looked at first; only a flat distribution needs the rest to be sorted."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log probabilities (natural) under the model's own distribution, before any parameter.

    ``top``: the likeliest tokens, most likely first, as many as were asked for.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """A token that was taken."""

    token: int
    logprobs: TokenLogprobs | None = None


def sample(sequences: Seq[Sequence], logits: torch.Tensor, ends: Seq[int]) -> list[Draw]:
    """One token for each sequence from ``logits [n, vocabulary]``.

    ``ends``: tokens that end an answer, hidden while an answer is shorter than its ``min_tokens``.
    """
    tokens = torch.argmax(logits, dim=-1)
    altered = [row for row, each in enumerate(sequences) if _is_altered(each)]
    drawn = [row for row, each in enumerate(sequences) if not each.request.params.is_greedy]
    special = sorted({*altered, *drawn})
    if special:
        scores = logits[special].float()
        for place, row in enumerate(special):
            _alter(scores[place], sequences[row], ends)
        tokens[special] = _choose([sequences[row] for row in special], scores)
    chosen = tokens.tolist()
    told = [n for n, each in enumerate(sequences) if each.request.params.logprobs is not None]
    details = dict(zip(told, _logprobs(told, sequences, logits, tokens), strict=True))
    return [Draw(token, details.get(row)) for row, token in enumerate(chosen)]


def uniform(seed: int, number: int) -> float:
    """A number in [0, 1) for the ``number``-th token of the answer with this seed."""
    key = seed.to_bytes(9, "little", signed=True) + number.to_bytes(8, "little")
    return (int.from_bytes(blake2b(key, digest_size=8).digest(), "little") >> 11) * 2.0**-53


def _is_altered(sequence: Sequence) -> bool:
    params = sequence.request.params
    return params.has_penalties or sequence.num_generated_tokens < params.min_tokens


def _alter(scores: torch.Tensor, sequence: Sequence, ends: Seq[int]) -> None:
    """Bias and penalties of one row, in place; the order is that of ``SamplingParams``."""
    params = sequence.request.params
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if params.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(sequence.tokens)), device=scores.device)
        old = scores[seen]
        scores[seen] = torch.where(
            old > 0, old / params.repetition_penalty, old * params.repetition_penalty
        )
    if params.frequency_penalty or params.presence_penalty:
        counts = Counter(sequence.generated)
        said = torch.tensor(list(counts), dtype=torch.long, device=scores.device)
        times = torch.tensor(list(counts.values()), dtype=scores.dtype, device=scores.device)
        scores[said] -= params.frequency_penalty * times + params.presence_penalty
    if sequence.num_generated_tokens < params.min_tokens:
        scores[[*ends, *params.stop_token_ids]] = float("-inf")


def _choose(sequences: Seq[Sequence], scores: torch.Tensor) -> torch.Tensor:
    tokens = torch.argmax(scores, dim=-1)
    plain: list[int] = []
    filtered: list[int] = []
    for row, sequence in enumerate(sequences):
        params = sequence.request.params
        if params.is_greedy:
            continue
        scores[row] /= params.temperature
        free = params.top_k <= 0 and params.top_p == 1 and params.min_p == 0
        (plain if free else filtered).append(row)
    if plain:
        weights = torch.softmax(scores[plain].double(), dim=-1)
        tokens[plain] = _pick(weights, [sequences[row] for row in plain])
    if filtered:
        tokens[filtered] = _choose_filtered([sequences[row] for row in filtered], scores[filtered])
    return tokens


def _choose_filtered(sequences: Seq[Sequence], scores: torch.Tensor) -> torch.Tensor:
    """Draw by rank among what top_k, top_p and min_p leave."""
    size = scores.shape[-1]
    params = [each.request.params for each in sequences]
    width = min(size, max(CANDIDATES, *(each.top_k for each in params)))
    top_k = _column([each.top_k if each.top_k > 0 else size for each in params], scores)
    top_p = _column([each.top_p for each in params], scores)
    min_p = _column([each.min_p for each in params], scores)
    everything = torch.logsumexp(scores.double(), dim=-1, keepdim=True)
    while True:
        best, tokens = torch.topk(scores, width, dim=-1, sorted=True)
        weights = torch.exp(best.double() - everything)
        weights[torch.arange(width, device=scores.device) >= top_k] = 0
        limited = (top_k < size) | (width == size)
        total = torch.where(limited, weights.sum(-1, keepdim=True), 1.0)
        before = weights.cumsum(-1) - weights
        keep = (before < top_p * total) & (weights >= min_p * weights[:, :1]) & (weights > 0)
        if width == size or not bool((keep[:, -1:] & (top_k > width)).any()):
            break
        width = size
    ranks = _pick(weights * keep, sequences)
    return tokens.gather(1, ranks[:, None])[:, 0]


def _pick(weights: torch.Tensor, sequences: Seq[Sequence]) -> torch.Tensor:
    """Places drawn in proportion to ``weights [n, m]``, by the inverse of their running sums."""
    sums = weights.cumsum(-1)
    draws = [uniform(each.seed, each.num_generated_tokens) for each in sequences]
    targets = _column(draws, weights) * sums[:, -1:]
    places = torch.searchsorted(sums, targets, right=True)[:, 0]
    last = weights.shape[-1] - 1 - (weights.flip(-1) > 0).int().argmax(-1)
    return torch.minimum(places, last)


def _column(values: Seq[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.double, device=like.device)[:, None]


def _logprobs(
    rows: Seq[int], sequences: Seq[Sequence], logits: torch.Tensor, tokens: torch.Tensor
) -> list[TokenLogprobs]:
    if not rows:
        return []
    logprobs = torch.log_softmax(logits[rows].float(), dim=-1)
    own = logprobs.gather(1, tokens[rows][:, None])[:, 0].tolist()
    wanted = [sequences[row].request.params.logprobs or 0 for row in rows]
    values, ids = torch.topk(logprobs, max(1, *wanted), dim=-1)
    return [
        TokenLogprobs(logprob, tuple(zip(ids_[:count], values_[:count], strict=True)))
        for logprob, count, ids_, values_ in zip(
            own, wanted, ids.tolist(), values.tolist(), strict=True
        )
    ]
