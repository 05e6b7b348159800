"""What comes in: when, how long a prompt, how long an answer; from traces or generators."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

NAMED_TOKENS = 512
"""Mooncake's blocks."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: seconds from its start, tokens in and out (at least 1 each).

    ``prefix``: names of what its prompt begins with, a name for every :data:`NAMED_TOKENS` tokens.
    Prompts with the first so many names alike begin alike.
    """

    at_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    prefix: tuple[int, ...] = ()


def mean_rate(arrivals: Sequence[Arrival]) -> float:
    """Requests a second between the first and the last of at least two arrivals."""
    span_s = arrivals[-1].at_s - arrivals[0].at_s
    return (len(arrivals) - 1) / span_s if span_s > 0 else float("inf")


def at_rate(arrivals: Sequence[Arrival], rate: float) -> list[Arrival]:
    """The same arrivals, faster or slower: all gaps scaled alike, so that bursts stay bursts."""
    factor = mean_rate(arrivals) / rate
    start_s = arrivals[0].at_s
    return [replace(arrival, at_s=(arrival.at_s - start_s) * factor) for arrival in arrivals]


def poisson(
    bodies: Sequence[Arrival], rate: float, count: int, rng: random.Random
) -> list[Arrival]:
    """``count`` arrivals with exponential gaps; bodies drawn from a trace, with replacement."""
    return bursts(bodies, rate, count, rng, shape=1.0)


def bursts(
    bodies: Sequence[Arrival], rate: float, count: int, rng: random.Random, shape: float
) -> list[Arrival]:
    """``count`` arrivals with gamma gaps of coefficient of variation ``1 / √shape``.

    1 is Poisson; below, arrivals come in bursts (vLLM's benchmark calls this burstiness). A body
    that is drawn twice is two requests alike in length, which share nothing.
    """
    now_s = 0.0
    arrivals = []
    for _ in range(count):
        gap = -log(1 - rng.random()) if shape == 1 else rng.gammavariate(shape, 1 / shape)
        now_s += gap / rate
        arrivals.append(replace(rng.choice(bodies), at_s=now_s, prefix=()))
    return arrivals
