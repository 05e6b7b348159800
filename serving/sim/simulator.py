"""Discrete events: arrivals and ends of steps, on a clock that is a number."""

from collections.abc import Callable, Iterable

from serving.sched.length import LengthPredictor, clamped
from serving.sched.policy import Policy
from serving.sched.shape import StepShape
from serving.sim.machine import Machine
from serving.sim.request import SimRequest

StepDuration = Callable[[StepShape], float]
"""How long a step truly takes, seconds, more than 0."""

StepObserver = Callable[[StepShape, float], None]
"""Told of every step and how long it took."""


class Stuck(RuntimeError):
    """Requests wait, nothing runs, and the policy names no time to ask again."""


def simulate(
    requests: Iterable[SimRequest],
    policy: Policy,
    machine: Machine,
    duration: StepDuration,
    *,
    predictor: LengthPredictor | None = None,
    observe: StepObserver | None = None,
) -> float:
    """Run all requests to their end; the time of the last event, in seconds.

    A request that arrives during a step is seen at its end, as in a real engine. Deciding takes no
    time here; ``bench/slo.py`` prints what it takes. A ``predictor`` foretells outputs as requests
    arrive and learns as they end; without one they keep the prediction they came with.

    Raises:
        PromiseBroken, Stuck: the policy is wrong.
    """
    arrivals = sorted(requests, key=lambda request: request.arrival_s, reverse=True)
    now_s = 0.0
    while True:
        while arrivals and arrivals[-1].arrival_s <= now_s:
            _arrive(arrivals.pop(), policy, machine, predictor)
        decision = policy.decide(machine.view(now_s))
        shape = machine.start_step(decision, now_s)
        if decision.tokens:
            step_s = duration(shape)
            now_s += step_s
            _end_step(policy, machine, now_s, predictor)
            if observe is not None:
                observe(shape, step_s)
        elif not decision.preempt:
            next_s = arrivals[-1].arrival_s if arrivals else None
            times = [time_s for time_s in (decision.again_s, next_s) if time_s is not None]
            if not times:
                break
            if min(times) <= now_s:
                raise Stuck(f"{policy.name} asks to be asked again at once")
            now_s = min(times)
    if machine.waiting or machine.running:
        raise Stuck(f"{policy.name} leaves {len(machine.waiting)} waiting for ever")
    return now_s


def _arrive(
    request: SimRequest, policy: Policy, machine: Machine, predictor: LengthPredictor | None
) -> None:
    if predictor is not None:
        told = predictor.predict(request.num_prompt_tokens, request.max_tokens)
        request.predicted_tokens = clamped(told, request.max_tokens)
    machine.arrive(request)
    policy.arrive(request)


def _end_step(
    policy: Policy, machine: Machine, now_s: float, predictor: LengthPredictor | None
) -> None:
    for request in machine.end_step(now_s):
        policy.leave(request)
        if predictor is not None:
            predictor.learn(request.num_prompt_tokens, request.num_output_tokens)
