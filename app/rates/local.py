"""Buckets in the memory of one process."""

import time
from collections import OrderedDict
from collections.abc import Callable

from app.rates.bucket import Limit, Verdict, judge

KEPT = 100_000
"""Buckets remembered; beyond, those that were longest not asked are full again."""


class LocalBuckets:
    """Used on one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, limit: Limit, cost: int = 1) -> Verdict:
        """See :class:`app.rates.bucket.Buckets`."""
        now = self._now()
        verdict, full_at = judge(limit, self._full_at.pop(key, now), now, cost)
        if full_at > now:
            self._full_at[key] = full_at
            if len(self._full_at) > KEPT:
                self._full_at.popitem(last=False)
        return verdict
