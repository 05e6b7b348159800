"""A token bucket kept as one number, and the limits that the hub has.

The generic cell rate algorithm (ITU-T I.371, Annex A): of each bucket only the time at which it
would be full again is remembered. ``q`` requests in a window fill it at once; after that one goes
every ``window / q`` seconds.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Resource = Literal["api", "resolvers", "pages", "failures"]
"""What is counted apart, in the words of the Hugging Face Hub, and failed logins."""


@dataclass(frozen=True, slots=True)
class Limit:
    """``quota`` requests in ``window_s`` seconds."""

    quota: int
    window_s: float

    @property
    def interval_s(self) -> float:
        """Seconds in which one request becomes free again."""
        return self.window_s / self.quota


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bucket says to one request."""

    allowed: bool
    remaining: int
    reset_s: float
    """Until the whole quota is there again."""
    retry_s: float
    """Until the next request is allowed; 0 if it is now."""


class Buckets(Protocol):
    """The buckets of all callers."""

    async def take(self, key: str, limit: Limit, cost: int = 1) -> Verdict:
        """Take a request out of a bucket; with ``cost`` 0 only look whether one is left."""
        ...


def judge(limit: Limit, full_at: float, now: float, cost: int) -> tuple[Verdict, float]:
    """The verdict on a request, and when the bucket will be full after it."""
    spent_s = max(0.0, full_at - now)
    wanted_s = spent_s + max(cost, 1) * limit.interval_s
    if wanted_s > limit.window_s + 1e-9:
        retry_s = wanted_s - limit.window_s
        return Verdict(allowed=False, remaining=0, reset_s=spent_s, retry_s=retry_s), full_at
    after_s = spent_s + cost * limit.interval_s
    remaining = int((limit.window_s - after_s) / limit.interval_s + 1e-9)
    return Verdict(allowed=True, remaining=remaining, reset_s=after_s, retry_s=0.0), now + after_s
