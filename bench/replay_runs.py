"""One policy under one set of requests, in the real engine and in its simulator."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.drift import TimedStep
from bench.engine import BLOCK_SIZE, VOCABULARY
from serving.engine.engine import Engine
from serving.engine.output import Failed, Refused
from serving.engine.params import SamplingParams
from serving.engine.profile import measure, shape_of
from serving.engine.runner import Runner
from serving.engine.sequence import Request
from serving.engine.step import Part
from serving.sched.decision import Decision, Rejection
from serving.sched.engine import EngineView, Limits
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

LIMITS = Limits(max_num_seqs=16, max_num_batched_tokens=128, block_size=BLOCK_SIZE)
NUM_BLOCKS = 16 * 24
SHORTER = 6
"""Prompts and answers are so much shorter than those of a chat."""
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
) -> tuple[Outcome, list[TimedStep]]:
    """What becomes of them by the CPU time of this process, and every step.

    A step lasts until the next begins, less what the clock jumped: what happens between is paid.
    """
    clock = Clock(time.process_time)
    shapes: list[StepShape] = []
    begun: list[tuple[float, float, int]] = []
    decided: list[float] = []
    engine = engine_of(runner, policy, latency, clock, lambda shape, _: shapes.append(shape))
    step, decide = engine.step, engine.policy.decide

    def deciding(engine: EngineView) -> Decision:
        start_s = time.process_time()
        decision = decide(engine)
        decided.append(time.process_time() - start_s)
        return decision

    def timed() -> list:
        begun.append((clock(), clock.added_s, len(shapes)))
        return step()

    engine.step, engine.policy.decide = timed, deciding
    end_s = replay(engine, clock, requests)
    begun.append((end_s, clock.added_s, len(shapes)))
    steps = [
        TimedStep(
            at_s,
            StepSample(shapes[number], (next_s - at_s) - (next_added - added) - decide_s),
            decide_s,
        )
        for decide_s, ((at_s, added, number), (next_s, next_added, done)) in zip(
            decided, itertools.pairwise(begun), strict=True
        )
        if done > number
    ]
    return outcome(requests, end_s), steps


def simulated(
    latency: FittedLatency,
    policy: str,
    requests: list[SimRequest],
    step_s: Callable[[StepShape], float] | None = None,
    machine: Machine | None = None,
) -> Outcome:
    """What the simulator says becomes of them, if steps take what the policies' model says."""
    made = create_policy(policy, LIMITS, replace(latency))
    machine = machine or Machine(LIMITS, NUM_BLOCKS)
    return outcome(requests, simulate(requests, made, machine, step_s or latency.step_s))


def calibrated(runner: Runner, bodies: Sequence[Arrival]) -> tuple[FittedLatency, float]:
    """A model of whole steps of this engine, everything around them included; its mean error."""
    rough = fit_latency(measure(runner, LIMITS, clock=time.process_time))
    steps: list[TimedStep] = []
    for policy, load in itertools.product(("fcfs", "fcfs-chunked"), (0.4, 1.5)):
        rate = load * capacity(rough, bodies)
        requests = requests_of(bodies, rate, 120, seed=1_000, scale=1e6)
        steps += in_cpu_seconds(runner, rough, policy, requests)[1]
    samples = [step.sample for step in steps]
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
