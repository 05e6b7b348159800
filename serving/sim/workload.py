"""Arrivals made into requests: objectives drawn, lengths foretold."""

import random
from collections.abc import Iterator, Sequence
from math import exp, log

from serving.sched.length import clamped
from serving.sched.request import Slo
from serving.sim.arrivals import NAMED_TOKENS, Arrival
from serving.sim.request import SimRequest

SLO_CLASSES = {
    "1": Slo(ttft_s=0.5, tpot_s=0.030),
    "2": Slo(ttft_s=2.0, tpot_s=0.030),
    "3": Slo(ttft_s=3.0, tpot_s=0.030),
    "4": Slo(ttft_s=0.5, tpot_s=0.050),
    "5": Slo(ttft_s=1.0, tpot_s=0.050),
    "6": Slo(ttft_s=7.5, tpot_s=0.050),
}
"""SCORPIO's six for an 8B model (arXiv 2505.23022, table 1). The mix is not published: uniform."""

NOISE = 0.8
"""Log-normal σ of noisy predictions: Kendall's τ against the truth is then near .54, as SCORPIO
reports for its own predictor on ShareGPT (the bench prints what it is)."""


def make_requests(
    arrivals: Sequence[Arrival], rng: random.Random, *, noise: float = NOISE
) -> list[SimRequest]:
    """Requests with objectives drawn evenly from :data:`SLO_CLASSES`.

    Predicted outputs are the true ones times log-normal noise; ``noise`` 0 is an oracle.
    ``max_tokens`` is the longest answer of all: clients set a bound, not the length they will get.
    Equal ``rng`` states give equal objectives whatever the noise.
    """
    longest = max(arrival.num_output_tokens for arrival in arrivals)
    names = list(SLO_CLASSES)
    requests = []
    for number, arrival in enumerate(arrivals):
        name = rng.choice(names)
        told = arrival.num_output_tokens * exp(noise * rng.gauss(0.0, 1.0))
        requests.append(
            SimRequest(
                request_id=str(number),
                arrival_s=arrival.at_s,
                num_prompt_tokens=arrival.num_prompt_tokens,
                num_output_tokens=arrival.num_output_tokens,
                max_tokens=longest,
                predicted_tokens=clamped(told, longest),
                slo=SLO_CLASSES[name],
                slo_class=name,
                prefix=tuple(
                    block.to_bytes(8, "little")
                    for block in arrival.prefix[: arrival.num_prompt_tokens // NAMED_TOKENS]
                ),
            )
        )
    return requests


def chat_bodies(rng: random.Random, count: int = 4_000) -> list[Arrival]:
    """Synthetic stand-ins for ShareGPT, whose texts cannot be shipped; times are all 0.

    Log-normal lengths with the means that the vLLM paper reports (SOSP 2023, figure 11: 161 tokens
    in, 338 out); the spreads, σ 1.2 and 0.9, are ours. Outputs end at 2,048 tokens.
    """
    prompts, answers = (_log_normal(rng, 161, 1.2), _log_normal(rng, 338, 0.9))
    return [
        Arrival(0.0, max(4, round(next(prompts))), max(1, min(2_048, round(next(answers)))))
        for _ in range(count)
    ]


def _log_normal(rng: random.Random, mean: float, sigma: float) -> Iterator[float]:
    while True:
        yield rng.lognormvariate(log(mean) - sigma * sigma / 2, sigma)
