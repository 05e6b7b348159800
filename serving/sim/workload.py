"""Arrivals made into requests: objectives drawn, lengths foretold."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from serving.sched.length import clamped
from serving.sched.request import Slo
from serving.sim.arrivals import Arrival
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

PREDICTORS = ("noisy", "oracle", "learned", "mean", "max")
NOISE = 1.0
"""Log-normal σ of the noisy predictor; Kendall's τ against the truth is printed by the bench."""


@dataclass(frozen=True, slots=True)
class Noisy:
    """The truth times log-normal noise; ``sigma`` 0 is the oracle. Asked request by request."""

    rng: random.Random
    sigma: float

    def around(self, num_output_tokens: int) -> float:
        """A prediction for a request that will generate so many."""
        return num_output_tokens * exp(self.rng.gauss(0.0, self.sigma))


def make_requests(
    arrivals: Sequence[Arrival], rng: random.Random, predictor: str = "noisy"
) -> list[SimRequest]:
    """Requests with objectives drawn evenly from :data:`SLO_CLASSES`.

    ``max_tokens`` is the longest answer of all: clients set a bound, not the length they will get.
    """
    longest = max(arrival.num_output_tokens for arrival in arrivals)
    names = list(SLO_CLASSES)
    noise = Noisy(rng, 0.0 if predictor == "oracle" else NOISE)
    requests = []
    for number, arrival in enumerate(arrivals):
        name = rng.choice(names)
        told = noise.around(arrival.num_output_tokens)
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
            )
        )
    return requests
