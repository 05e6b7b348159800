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


class UnknownPolicy(ValueError):
    """No policy has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no policy {name!r}; there are {', '.join(POLICIES)}")


def create_policy(name: str, limits: Limits, latency: LatencyModel) -> Policy:
    """A fresh policy for one engine.

    Raises:
        UnknownPolicy: nothing is called so.
    """
    if name not in POLICIES:
        raise UnknownPolicy(name)
    return POLICIES[name].make(limits, latency)
