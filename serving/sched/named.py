"""Policies by name."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.sched.engine import Limits
from serving.sched.latency import LatencyModel
from serving.sched.orders import (
    EarliestDeadline,
    Fcfs,
    FcfsChunked,
    Priority,
    ShortestFirst,
    ShortestFirstOracle,
)
from serving.sched.policy import Policy
from serving.sched.queueing import QueueingPolicy
from serving.sched.rejecting import FcfsReject, Mooncake
from serving.sched.scorpio import Scorpio, ScorpioCode, TpotGuarded, TtftGuarded
from serving.sched.scorpio_plus import ScorpioPlus


@dataclass(frozen=True, slots=True)
class Named:
    """How to make a policy. ``needs_oracle``: only where true output lengths are known."""

    make: Callable[[Limits, LatencyModel], Policy]
    needs_oracle: bool = False


_CLASSES: tuple[type[QueueingPolicy], ...] = (
    Fcfs,
    FcfsChunked,
    Priority,
    ShortestFirst,
    ShortestFirstOracle,
    EarliestDeadline,
    FcfsReject,
    Mooncake,
    Scorpio,
    ScorpioCode,
    TtftGuarded,
    TpotGuarded,
    ScorpioPlus,
)
POLICIES: dict[str, Named] = {
    policy.name: Named(policy, needs_oracle=policy is ShortestFirstOracle) for policy in _CLASSES
}

SERVED = tuple(name for name, policy in POLICIES.items() if not policy.needs_oracle)
"""What a real engine can run."""


class UnknownPolicy(ValueError):
    """No policy has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no policy {name!r}; there are {', '.join(POLICIES)}")


class NeedsOracle(ValueError):
    """A policy that only a simulation can have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} goes by how long answers will be in truth, which only `clade sim slo` knows; "
            f"{name.removesuffix('-oracle')} goes by predictions"
        )


def create_policy(
    name: str, limits: Limits, latency: LatencyModel, *, oracle: bool = False
) -> Policy:
    """A fresh policy for one engine. ``oracle``: predictions of its requests are the truth.

    Raises:
        UnknownPolicy: nothing is called so.
        NeedsOracle: it is of no use without one.
    """
    if name not in POLICIES:
        raise UnknownPolicy(name)
    if POLICIES[name].needs_oracle and not oracle:
        raise NeedsOracle(name)
    return POLICIES[name].make(limits, latency)
