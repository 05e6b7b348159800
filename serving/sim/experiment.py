"""One run of one policy at one load, described by plain values and repeatable from them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from serving.sched.engine import Limits
from serving.sched.fit import fit_latency
from serving.sched.latency import FittedLatency
from serving.sched.length import GroupMean, Learned, LengthPredictor, MaxTokens
from serving.sched.named import POLICIES, create_policy
from serving.sched.refit import Refit
from serving.sim.arrivals import NAMED_TOKENS, Arrival, at_rate, bursts, poisson
from serving.sim.gpus import StepTimes, step_times
from serving.sim.machine import Machine
from serving.sim.outcome import Outcome, outcome
from serving.sim.profile import NoisySteps, profile
from serving.sim.simulator import simulate
from serving.sim.workload import make_requests

Process = Literal["trace", "poisson", "burst"]
Predictor = Literal["noisy", "oracle", "learned", "mean", "max"]

BURST_SHAPE = 0.1
"""Gamma shape of ``burst`` arrivals: their gaps vary by 316 % of their mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all runs of a comparison share.

    ``process``: the trace's own times, or generated ones with the trace's bodies. ``count``: how
    many requests; the first ones of a trace. ``prefix_cache``: prompts that begin alike, by the
    names of the trace, share KV blocks, which are then as large as what a name stands for.
    ``kv_tokens``: how many tokens the KV pool holds; None: what the accelerator has room for.
    """

    gpu: str
    model: str
    process: Process = "trace"
    predictor: Predictor = "noisy"
    max_num_batched_tokens: int = 2_048
    max_num_seqs: int = 256
    count: int | None = None
    refit: bool = False
    prefix_cache: bool = False
    kv_tokens: int | None = None

    @property
    def times(self) -> StepTimes:
        """The simulator's truth."""
        return step_times(self.gpu, self.model)

    @property
    def limits(self) -> Limits:
        """The engine's; 1 % of the KV pool is left to what runs."""
        return Limits(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            block_size=self.block_size,
            prefix_cache=self.prefix_cache,
            watermark_blocks=self.num_blocks // 100,
        )

    @property
    def num_blocks(self) -> int:
        """KV blocks of the pool."""
        return (self.kv_tokens or self.times.kv_tokens) // self.block_size

    @property
    def block_size(self) -> int:
        """Tokens of a KV block."""
        return NAMED_TOKENS if self.prefix_cache else 16


def capacity(setting: Setting, bodies: Sequence[Arrival], count: int = 1_500) -> float:
    """Requests a second that the engine finishes when all are there at once.

    Offline throughput of ``fcfs-chunked`` on bodies drawn from ``bodies``, nobody having an
    objective, no prefix being found and steps without noise: what the hardware does at most,
    whatever a policy wants.

    Raises:
        ValueError: the KV pool is too small for one of them.
    """
    longest = max(body.num_prompt_tokens + body.num_output_tokens for body in bodies)
    if longest > setting.num_blocks * setting.block_size:
        raise ValueError(
            f"a request of {longest:,} tokens does not fit into a KV pool of "
            f"{setting.num_blocks * setting.block_size:,}; give it more"
        )
    rng = random.Random(0)
    drawn = [Arrival(0.0, b.num_prompt_tokens, b.num_output_tokens)
             for b in rng.choices(bodies, k=count)]  # fmt: skip
    policy = create_policy("fcfs-chunked", setting.limits, _fitted(setting.times, rng))
    machine = Machine(setting.limits, setting.num_blocks)
    end_s = simulate(make_requests(drawn, rng), policy, machine, setting.times.step_s)
    return count / end_s


def run(
    setting: Setting, bodies: Sequence[Arrival], policy_name: str, rate: float, seed: int
) -> Outcome:
    """Offer requests at ``rate`` a second to a fresh engine under a policy.

    The seed decides objectives, predictions, noise of steps and of the profile that the policy's
    models are fitted to, and generated arrivals; never the policy: all see the same requests.
    """
    rng = random.Random(seed)
    arrivals = _arrivals(setting, bodies, rate, rng)
    is_oracle = setting.predictor == "oracle" or POLICIES[policy_name].needs_oracle
    if not setting.prefix_cache:
        arrivals = [replace(arrival, prefix=()) for arrival in arrivals]
    requests = make_requests(arrivals, rng, **({"noise": 0.0} if is_oracle else {}))
    latency = _fitted(setting.times, rng)
    end_s = simulate(
        requests,
        create_policy(policy_name, setting.limits, latency, oracle=is_oracle),
        Machine(setting.limits, setting.num_blocks),
        NoisySteps(setting.times, rng),
        predictor=None if is_oracle else _predictor(setting.predictor),
        observe=Refit(latency).observe if setting.refit else None,
    )
    return outcome(requests, end_s)


def _arrivals(
    setting: Setting, bodies: Sequence[Arrival], rate: float, rng: random.Random
) -> list[Arrival]:
    count = setting.count
    if setting.process == "trace":
        return at_rate(bodies[:count], rate)
    if setting.process == "poisson":
        return poisson(bodies, rate, count or len(bodies), rng)
    return bursts(bodies, rate, count or len(bodies), rng, BURST_SHAPE)


def _fitted(times: StepTimes, rng: random.Random) -> FittedLatency:
    return fit_latency(profile(times, rng))


def _predictor(name: Predictor) -> LengthPredictor | None:
    made = {"learned": Learned, "mean": GroupMean, "max": MaxTokens}
    return made[name]() if name in made else None
