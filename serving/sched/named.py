"""Policies by name."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.sched.engine import Limits
from serving.sched.fcfs import Fcfs, FcfsChunked, Priority
from serving.sched.latency import LatencyModel
from serving.sched.policy import Policy


@dataclass(frozen=True, slots=True)
class Named:
    """How to make a policy. ``needs_oracle``: only where true output lengths are known."""

    make: Callable[[Limits, LatencyModel], Policy]
    needs_oracle: bool = False


POLICIES: dict[str, Named] = {
    policy.name: Named(policy) for policy in (Fcfs, FcfsChunked, Priority)
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
