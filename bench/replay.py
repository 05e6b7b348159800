"""The engine and its simulator under the same requests: does the simulator tell the truth?

    python -m bench.replay [--requests 240] [--seeds 2] [--load 0.5 1 2] [--quick]

A small random Llama serves Poisson arrivals with SCORPIO's six classes of objectives (their seconds
scaled to this model), under every policy, twice:

* *In steps*: the engine computes every token, but its clock moves by what a latency model says of
  each step, as the simulator's does. Whatever differs then is not time.
* *In CPU seconds*: the engine's clock is its process's CPU time, and jumps where nothing is to be
  done. The latency model, which is the policies' in both, is fitted to steps of the same engine
  under other requests, Python and sampling included. The simulator's steps take what that model
  says times what it takes from the very run it is compared with: how much slower each step was
  than it was told (a virtual machine's speed drifts by a tenth within seconds).
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

import torch

from bench.engine import BLOCK_SIZE, VOCABULARY, small_llama
from bench.report import print_table
from serving.engine.engine import Engine
from serving.engine.output import Failed, Refused
from serving.engine.params import SamplingParams
from serving.engine.profile import measure, shape_of
from serving.engine.runner import Runner
from serving.engine.sequence import Request
from serving.engine.step import Part
from serving.sched.decision import Rejection
from serving.sched.engine import Limits
from serving.sched.fit import StepSample, fit_latency, quality
from serving.sched.latency import FittedLatency
from serving.sched.named import create_policy
from serving.sched.request import Slo
from serving.sched.shape import StepShape
from serving.sim.arrivals import Arrival, poisson
from serving.sim.machine import Machine
from serving.sim.outcome import Outcome, outcome
from serving.sim.request import SimRequest
from serving.sim.simulator import simulate
from serving.sim.workload import chat_bodies, make_requests

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
LIMITS = Limits(max_num_seqs=16, max_num_batched_tokens=128, block_size=BLOCK_SIZE)
NUM_BLOCKS = 16 * 24
SHORTER = 6
"""Prompts and answers are so much shorter than those of a chat."""
SIDES = {
    "simulated so": "simulated, in steps",
    "in steps": "engine, in steps",
    "simulated": "simulated, in CPU s",
    "in CPU s": "engine, in CPU s",
}
REFERENCE_TPOT_S, SLACK = 0.030, 1.5
"""The tightest objective of an 8B model is scaled to so many times a decode of half a batch."""


@dataclass
class Clock:
    """Seconds that are counted: those of a source, or none, and those added by hand."""

    source: Callable[[], float] = lambda: 0.0
    added_s: float = 0.0
    _start_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """From now on."""
        self._start_s = self.source()

    def __call__(self) -> float:
        return self.source() - self._start_s + self.added_s

    def jump(self, to_s: float) -> None:
        """Let time pass in which nothing happens."""
        self.added_s += max(0.0, to_s - self())


class SteppedRunner(Runner):
    """Every step takes, on a clock, what a model says of it."""

    clock: Clock
    latency: FittedLatency

    def run(self, parts: Sequence[Part]) -> tuple[list, torch.Tensor]:
        result = super().run(parts)
        self.clock.added_s += self.latency.step_s(shape_of(list(parts)))
        return result


def requests_of(
    bodies: Sequence[Arrival], rate: float, count: int, seed: int, scale: float
) -> list[SimRequest]:
    """Requests whose clients know how long an answer may get, and not that it will get as long."""
    rng = random.Random(seed)
    requests = make_requests(poisson(bodies, rate, count, rng), rng)
    for request in requests:
        slo = request.slo
        assert slo.ttft_s is not None
        assert slo.tpot_s is not None
        request.slo = Slo(ttft_s=slo.ttft_s * scale, tpot_s=slo.tpot_s * scale)
        request.max_tokens = request.num_output_tokens
        request.predicted_tokens = min(request.predicted_tokens, request.max_tokens)
    return requests


def replay(engine: Engine, clock: Clock, requests: Sequence[SimRequest]) -> float:
    """Have the engine answer all requests as they arrive; when the last one ended."""
    by_id = {request.request_id: request for request in requests}
    draw = torch.Generator().manual_seed(0)
    coming = [_asked(request, draw) for request in requests]
    coming.sort(key=lambda request: request.arrival_s, reverse=True)
    clock.start()
    while coming or not engine.is_idle:
        while coming and coming[-1].arrival_s <= clock():
            engine.add(coming.pop())
        now_s = clock()
        events = [] if engine.is_idle else engine.step()
        for event in events:
            request = by_id[event.request_id]
            if isinstance(event, Failed):
                raise SystemExit(f"the engine failed: {event.message}")
            if isinstance(event, Refused):
                request.rejection = Rejection(request, event.reason, event.retry_after_s)
                request.end_s = now_s
            else:
                request.give_token(event.at_s)
        if engine.is_idle or engine.is_waiting:
            times = [] if engine.again_s is None else [engine.again_s]
            times += [coming[-1].arrival_s] if coming else []
            if times:
                clock.jump(min(times))
            elif not engine.is_idle:
                raise SystemExit("requests wait for ever")
    return clock()


def _asked(request: SimRequest, draw: torch.Generator) -> Request:
    tokens = torch.randint(3, VOCABULARY, (request.num_prompt_tokens,), generator=draw)
    return Request(
        request_id=request.request_id,
        prompt=tuple(tokens.tolist()),
        params=SamplingParams(temperature=0, max_tokens=request.max_tokens, ignore_eos=True),
        arrival_s=request.arrival_s,
        slo=request.slo,
        predicted_tokens=request.predicted_tokens,
    )


def engine_of(
    runner: Runner,
    policy: str,
    latency: FittedLatency,
    clock: Clock,
    observe: Callable[[StepShape, float], None] = lambda _shape, _seconds: None,
) -> Engine:
    """A fresh engine, whose policy may not change the model that others are given."""
    return Engine(
        runner,
        create_policy(policy, LIMITS, replace(latency)),
        clock=clock,
        draw_seed=lambda: 0,
        observe=observe,
    )


def in_steps(
    runner: SteppedRunner, latency: FittedLatency, policy: str, requests: list[SimRequest]
) -> Outcome:
    """What becomes of requests in the engine if steps take what the model says."""
    runner.clock, runner.latency = Clock(), latency
    engine = engine_of(runner, policy, latency, runner.clock)
    return outcome(requests, replay(engine, runner.clock, requests))


def in_cpu_seconds(
    runner: Runner, latency: FittedLatency, policy: str, requests: list[SimRequest]
) -> tuple[Outcome, list[StepSample]]:
    """What becomes of them by the CPU time of this process, and every step."""
    clock = Clock(time.process_time)
    shapes: list[StepShape] = []
    samples: list[StepSample] = []
    engine = engine_of(runner, policy, latency, clock, lambda shape, _: shapes.append(shape))
    step = engine.step

    def timed() -> list:
        before, start_s = len(shapes), time.process_time()
        events = step()
        if len(shapes) > before:
            samples.append(StepSample(shapes[-1], time.process_time() - start_s))
        return events

    engine.step = timed
    return outcome(requests, replay(engine, clock, requests)), samples


def simulated(
    latency: FittedLatency,
    policy: str,
    requests: list[SimRequest],
    step_s: Callable[[StepShape], float] | None = None,
) -> Outcome:
    """What the simulator says becomes of them, if steps take what the policies' model says."""
    made = create_policy(policy, LIMITS, replace(latency))
    end_s = simulate(requests, made, Machine(LIMITS, NUM_BLOCKS), step_s or latency.step_s)
    return outcome(requests, end_s)


def as_slow_as(
    samples: Sequence[StepSample], latency: FittedLatency
) -> Callable[[StepShape], float]:
    """Steps by the model, slowed as the engine's were: the n-th of a kind as its n-th of that kind.

    In their order, because slow spells last longer than a step, and a request meets its TPOT on
    the average of many.
    """
    kinds: dict[tuple[bool, bool], list[float]] = {}
    for sample in samples:
        taken = sample.duration_s / latency.step_s(sample.shape)
        kinds.setdefault(_kind(sample.shape), []).append(taken)
    every = [taken for each in kinds.values() for taken in each]
    coming: dict[tuple[bool, bool], Iterator[float]] = {}

    def step_s(shape: StepShape) -> float:
        kind = _kind(shape)
        taken = coming.setdefault(kind, cycle(kinds.get(kind, every)))
        return latency.step_s(shape) * next(taken)

    return step_s


def _kind(shape: StepShape) -> tuple[bool, bool]:
    return shape.num_decodes > 0, shape.prefill_tokens > 0


def calibrated(runner: Runner, bodies: Sequence[Arrival]) -> tuple[FittedLatency, float]:
    """A model of whole steps of this engine, everything around them included; its mean error."""
    rough = fit_latency(measure(runner, LIMITS, clock=time.process_time))
    samples: list[StepSample] = []
    for policy, load in (("fcfs", 1.5), ("fcfs-chunked", 0.4), ("fcfs-chunked", 1.5)):
        rate = load * capacity(rough, bodies)
        requests = requests_of(bodies, rate, 120, seed=1_000, scale=1e6)
        samples += in_cpu_seconds(runner, rough, policy, requests)[1]
    latency = fit_latency(samples)
    return latency, quality(latency, samples).mape


def capacity(latency: FittedLatency, bodies: Sequence[Arrival], count: int = 600) -> float:
    """Requests a second that the simulated engine finishes when all are there at once."""
    requests = requests_of(bodies, 1e9, count, seed=0, scale=1e6)
    made = create_policy("fcfs-chunked", LIMITS, replace(latency))
    return count / simulate(requests, made, Machine(LIMITS, NUM_BLOCKS), latency.step_s)


def bodies_of(seed: int = 0) -> list[Arrival]:
    """Lengths of chats, made short."""
    return [
        Arrival(
            0.0,
            min(120, max(2, body.num_prompt_tokens // SHORTER)),
            min(120, max(2, body.num_output_tokens // SHORTER)),
        )
        for body in chat_bodies(random.Random(seed))
    ]


def scale_of(latency: FittedLatency) -> float:
    """Of objectives, against those of an 8B model on an A100."""
    half = LIMITS.max_num_seqs / 2
    return SLACK * latency.decode_s(half, 60) / REFERENCE_TPOT_S


def ranking(goodputs: dict[str, float]) -> list[str]:
    """Policies from best to worst."""
    return sorted(goodputs, key=lambda name: (-goodputs[name], name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--load", type=float, nargs="+", default=[0.5, 1.0, 2.0])
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
    rate, scale = capacity(latency, bodies), scale_of(latency)
    print(
        f"a step's CPU time is told within {error:.1%} on average; capacity {rate:.1f} requests/s, "
        f"objectives {scale:.3f} of SCORPIO's"
    )
    worst = 0.0
    for load in options.load:
        rows = []
        goodputs: dict[str, dict[str, float]] = {name: {} for name in SIDES}
        for policy in POLICIES:
            told: dict[str, list[Outcome]] = {name: [] for name in goodputs}
            taken_s = told_s = 0.0
            for seed in range(options.seeds):

                def asked(seed=seed, load=load) -> list[SimRequest]:
                    return requests_of(bodies, load * rate, options.requests, seed, scale)

                done, samples = in_cpu_seconds(plain, latency, policy, asked())
                slow = as_slow_as(samples, latency)
                told["in CPU s"].append(done)
                told["simulated"].append(simulated(latency, policy, asked(), slow))
                told["in steps"].append(in_steps(runner, latency, policy, asked()))
                told["simulated so"].append(simulated(latency, policy, asked()))
                taken_s += sum(sample.duration_s for sample in samples)
                told_s += sum(latency.step_s(sample.shape) for sample in samples)
            shares = {
                name: sum(each.adherence for each in runs) / len(runs)
                for name, runs in told.items()
            }
            for name, runs in told.items():
                goodputs[name][policy] = sum(each.goodput for each in runs) / len(runs)
            worst = max(worst, abs(shares["simulated"] - shares["in CPU s"]))
            rejected = sum(each.rejected for each in told["in CPU s"]) / options.seeds
            rows.append(
                [
                    policy,
                    *(f"{shares[name]:.3f}" for name in goodputs),
                    f"{100 * (shares['in CPU s'] - shares['simulated']):+.1f}",
                    f"{rejected:.3f}",
                    f"{taken_s / told_s:.3f}",
                ]
            )
        print_table(
            f"load {load}: share of all {options.requests} × {options.seeds} requests that met "
            "both objectives",
            ["policy", *SIDES.values(), "points", "rejected", "steps / told"],
            rows,
        )
        for name, each in goodputs.items():
            print(f"ranking, {SIDES[name]}: {' > '.join(ranking(each))}")
    print(f"\nfurthest apart, simulator and engine in CPU seconds: {100 * worst:.1f} points")


if __name__ == "__main__":
    main()
