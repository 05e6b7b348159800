"""The engine and its simulator under the same requests: does the simulator tell the truth?

    python -m bench.replay [--requests 240] [--seeds 2] [--load 0.5 1 2] [--policy NAME …]
        [--first-seed 0] [--no-steps] [--quick]

A small random Llama serves Poisson arrivals with SCORPIO's six classes of objectives (their seconds
scaled to this model), under every policy, twice:

* *In steps*: the engine computes every token, but its clock moves by what a latency model says of
  each step, as the simulator's does. Whatever differs then is not time.
* *In CPU seconds*: the engine's clock is its process's CPU time, and jumps where nothing is to be
  done. A latency model is fitted once to steps of the same engine under other requests, Python and
  sampling included, deciding not: that is measured step by step, and takes time in both. A virtual
  machine's speed drifts by tenths within seconds, so a *probe*, other requests under the same
  policy, runs between any two runs. The one before a run scales the model: by that go the
  policies in both, the rate and the objectives. The simulator then answers three times, its steps
  taking what the model says times a slowness that it knows

  - *replayed*: of the engine's steps of this run, by their size, at the second they began;
  - *calibrated*: of the same steps, spell after spell of 20, in random order: how slow steps were
    is known, not when (the mean of 5 orders);
  - *foretold*: of the steps of the probes before and after, and nothing of the run.

  Replayed, nothing but decisions and books is tested; foretold, the machine's drift as well.
  *Calibrated* is the figure that promises are made about. No run is left out; *drift* is how much
  slower the probe after a run was than the one before.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bench.drift import Drifting, TimedStep, scattered, shuffled, slower, speed
from bench.engine import BLOCK_SIZE, small_llama
from bench.replay_runs import (
    LIMITS,
    NUM_BLOCKS,
    SteppedRunner,
    bodies_of,
    calibrated,
    capacity,
    in_cpu_seconds,
    in_steps,
    requests_of,
    scale_of,
    simulated,
)
from bench.report import print_table
from serving.engine.runner import Runner
from serving.sched.latency import FittedLatency
from serving.sim.arrivals import Arrival
from serving.sim.outcome import Outcome
from serving.sim.request import SimRequest

POLICIES = (
    "fcfs",
    "fcfs-chunked",
    "sjf",
    "edf",
    "fcfs-reject",
    "mooncake",
    "scorpio",
    "scorpio-plus",
)

ORDERS = 5

Ask = Callable[[float], list[SimRequest]]
"""Fresh requests, whose rate and objectives suit a machine so many times slower than the model."""


def asking(
    latency: FittedLatency, bodies: Sequence[Arrival], load: float, count: int, seed: int
) -> Ask:
    """Requests at a share of what a machine can do, however fast it is."""
    rate, scale = load * capacity(latency, bodies), scale_of(latency)
    return lambda slow: requests_of(bodies, rate / slow, count, seed, scale * slow)


def probed(
    runner: Runner, latency: FittedLatency, bodies: Sequence[Arrival], policy: str
) -> list[TimedStep]:
    """Steps of a policy under requests that nobody is told about: how fast the machine is now."""
    ask = asking(latency, bodies, 1.5, 50, seed=2_000)
    return in_cpu_seconds(runner, latency, policy, ask(1.0))[1]


@dataclass(frozen=True, slots=True)
class Told:
    """One run in CPU seconds, and what the simulator says of it, each once or more.

    ``drift``: how much slower the probe after it was than the one before; ``slowness``: what the
    steps of the run took over what the policies were told; ``decide_s``: what deciding took, a
    step, which they are not told.
    """

    engine: list[Outcome]
    replayed: list[Outcome]
    calibrated: list[Outcome]
    foretold: list[Outcome]
    drift: float
    slowness: float
    decide_s: float


SIDES = ("engine", "replayed", "calibrated", "foretold")


class Teller:
    """Runs a policy on the engine between two probes of it, and simulates what it ran."""

    def __init__(
        self, runner: Runner, latency: FittedLatency, bodies: Sequence[Arrival], policy: str
    ) -> None:
        self._probe = lambda: probed(runner, latency, bodies, policy)
        self._policy = policy
        self._runner, self._latency = runner, latency
        self._before = self._probe()

    def __call__(self, ask: Ask) -> Told:
        """Run, probe, and simulate."""
        policy = self._policy
        before, latency = self._before, self._latency
        slow = speed(before, latency)
        local = slower(latency, slow)
        done, steps = in_cpu_seconds(self._runner, local, policy, ask(slow))
        after = self._before = self._probe()
        machine = Drifting(LIMITS, NUM_BLOCKS, steps, local)
        orders = [shuffled(steps, random.Random(number)) for number in range(ORDERS)]
        return Told(
            [done],
            [simulated(local, policy, ask(slow), machine.step_s, machine)],
            [simulated(local, policy, ask(slow), scattered(order, local)) for order in orders],
            [simulated(local, policy, ask(slow), scattered([*before, *after], latency))],
            speed(after, latency) / slow,
            speed(steps, local),
            _mean([step.decide_s for step in steps]),
        )


def print_cpu(load: float, told: dict[str, list[Told]]) -> float:
    """A load's table; how far the calibrated simulator lies off where it is furthest, in points."""
    rows = []
    furthest = dict.fromkeys(SIDES, 0.0)
    for policy, runs in told.items():
        shares = {side: mean_of(runs, side, "adherence") for side in SIDES}
        points = {side: 100 * (shares[side] - shares["engine"]) for side in SIDES}
        furthest = {side: max(furthest[side], abs(points[side])) for side in SIDES}
        drifts = [run.drift for run in runs]
        rows.append(
            [
                policy,
                *(f"{share:.3f}" for share in shares.values()),
                f"{points['calibrated']:+.1f}",
                f"{points['foretold']:+.1f}",
                f"{mean_of(runs, 'engine', 'rejected'):.3f}",
                f"{mean_of(runs, 'calibrated', 'rejected'):.3f}",
                f"{_mean([run.slowness for run in runs]):.2f}",
                f"{1e3 * _mean([run.decide_s for run in runs]):.2f}",
                f"{min(drifts):.2f} to {max(drifts):.2f}",
            ]
        )
    print_table(
        f"load {load}, in CPU seconds: share of all requests that met both objectives",
        [
            "policy",
            *SIDES,
            "points",
            "foretold",
            "rejected",
            "calibrated",
            "steps / told",
            "decides, ms",
            "drift",
        ],
        rows,
    )
    for side in SIDES:
        goodputs = {policy: mean_of(runs, side, "goodput") for policy, runs in told.items()}
        print(f"ranking, {side}: {' > '.join(ranking(goodputs))}")
    print("furthest off:", ", ".join(f"{side} {furthest[side]:.1f}" for side in SIDES[1:]))
    return furthest["calibrated"]


def mean_of(runs: Sequence[Told], side: str, figure: str) -> float:
    """Of a figure of outcomes, over runs and the times that each was told."""
    return _mean([_mean([getattr(each, figure) for each in getattr(run, side)]) for run in runs])


def ranking(goodputs: dict[str, float]) -> list[str]:
    """Policies from best to worst."""
    return sorted(goodputs, key=lambda name: (-goodputs[name], name))


def compare_steps(
    runner: SteppedRunner,
    latency: FittedLatency,
    load: float,
    asks: Sequence[Ask],
    policies: Sequence[str],
) -> None:
    """A load's table on the clock of counted steps."""
    sides = {"simulated": simulated, "engine": lambda *asked: in_steps(runner, *asked)}
    rows = []
    goodputs: dict[str, dict[str, float]] = {side: {} for side in sides}
    for policy in policies:
        row = [policy]
        for side, run in sides.items():
            runs = [run(latency, policy, ask(1.0)) for ask in asks]
            row.append(f"{_mean([each.adherence for each in runs]):.3f}")
            goodputs[side][policy] = _mean([each.goodput for each in runs])
        rows.append(row)
    print_table(f"load {load}, in steps: the same shares", ["policy", *sides], rows)
    for side, each in goodputs.items():
        print(f"ranking, {side}: {' > '.join(ranking(each))}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--load", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--policy", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--no-steps", action="store_true", help="in CPU seconds alone")
    parser.add_argument("--quick", action="store_true", help="one seed, one load, few requests")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.seeds, options.load = 60, 1, [1.0]
    torch.set_num_threads(1)
    bodies = bodies_of()
    runner = SteppedRunner(
        small_llama(hidden=128, layers=2), num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE
    )
    plain = Runner(runner.model, num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
    latency, error = calibrated(plain, bodies)
    print(
        f"a step's CPU time is told within {error:.1%} on average; capacity "
        f"{capacity(latency, bodies):.1f} requests/s, objectives {scale_of(latency):.3f} of "
        "SCORPIO's"
    )
    worst = 0.0
    for load in options.load:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        asks = [asking(latency, bodies, load, options.requests, seed) for seed in seeds]
        told: dict[str, list[Told]] = {}
        for policy in options.policy:
            tell = Teller(plain, latency, bodies, policy)
            told[policy] = [tell(ask) for ask in asks]
        worst = max(worst, print_cpu(load, told))
        if not options.no_steps:
            compare_steps(runner, latency, load, asks, options.policy)
    print(f"\nfurthest off, calibrated simulator and engine in CPU seconds: {worst:.1f} points")


if __name__ == "__main__":
    main()
