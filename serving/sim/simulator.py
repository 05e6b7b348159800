"""Discrete events: arrivals and ends of steps, on a clock that is a number."""

from collections.abc import Callable, Iterable

from serving.sched.policy import Policy
from serving.sched.shape import StepShape
from serving.sim.machine import Machine
from serving.sim.request import SimRequest

StepDuration = Callable[[StepShape], float]
"""How long a step truly takes, seconds, more than 0."""


class Stuck(RuntimeError):
    """Requests wait, nothing runs, and the policy names no time to ask again."""


def simulate(
    requests: Iterable[SimRequest], policy: Policy, machine: Machine, duration: StepDuration
) -> float:
    """Run all requests to their end; the time of the last event, in seconds.

    A request that arrives during a step is seen at its end, as in a real engine. Deciding takes no
    time here; ``bench/slo.py`` prints what it takes.

    Raises:
        PromiseBroken, Stuck: the policy is wrong.
    """
    arrivals = sorted(requests, key=lambda request: request.arrival_s)
    now_s = 0.0
    position = 0
    while True:
        while position < len(arrivals) and arrivals[position].arrival_s <= now_s:
            machine.arrive(arrivals[position])
            policy.arrive(arrivals[position])
            position += 1
        decision = policy.decide(machine.view(now_s))
        shape = machine.start_step(decision, now_s)
        if decision.tokens:
            now_s += duration(shape)
            for request in machine.end_step(now_s):
                policy.leave(request)
            continue
        if decision.preempt:
            continue
        times = [decision.again_s] if decision.again_s is not None else []
        if position < len(arrivals):
            times.append(arrivals[position].arrival_s)
        if not times:
            break
        if min(times) <= now_s:
            raise Stuck(f"{policy.name} asks to be asked again at once")
        now_s = min(times)
    if machine.waiting or machine.running:
        raise Stuck(f"{policy.name} leaves {len(machine.waiting)} waiting for ever")
    return now_s
