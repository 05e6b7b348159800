"""When to ask a store again, and how long to wait: full jitter under a total deadline.

Full jitter is the variant of exponential back-off that spreads a crowd best: the wait is uniform
between zero and the exponential bound (AWS Architecture Blog, "Exponential Backoff and Jitter").
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.store.contract import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Tries and their spacing. Times in seconds."""

    tries: int = 4
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    deadline_s: float = 120.0
    """No further try begins after this long; a try itself is bounded by the store's timeouts."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform

    def call(self, attempt: Callable[[], T]) -> T:
        """The result of ``attempt``, called again while it fails in a transient way.

        ``attempt`` must be safe to repeat, also after it had its effect and failed to say so.
        """
        begun = self.now()
        for number in range(1, self.tries + 1):
            try:
                return attempt()
            except StoreUnavailable as error:
                wait = self.wait_before(number + 1)
                late = self.now() + wait - begun > self.deadline_s
                if not error.transient or number == self.tries or late:
                    raise
                self.sleep(wait)
        raise AssertionError("unreachable")

    def wait_before(self, number: int) -> float:
        """Seconds to wait before try ``number`` (the second is the first that waits)."""
        bound = self.first_wait_s * 2 ** (number - 2)
        return self.uniform(0, min(bound, self.longest_wait_s))
