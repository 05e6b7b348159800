"""Buckets in Redis, one set for all processes that serve a hub.

While Redis does not answer, each process counts for itself: a hub must not stand still because its
counters do.
"""

import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.rates.bucket import Limit, Verdict, judge
from app.rates.local import LocalBuckets

ANSWER_S = 0.25
"""Longest wait for Redis, which every request may have to pay."""

SILENCE_S = 5.0
"""After a failure Redis is not asked for so long."""

PREFIX = "clade:rate:"

# The time is that of Redis: clocks of processes differ. Microseconds, as Lua's numbers are doubles.
_TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local window, interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
local spent = math.max(0, full_at - now)
if cost > 0 and spent + cost * interval <= window + 1 then
  redis.call('SET', KEYS[1], string.format('%.0f', now + spent + cost * interval),
    'PX', math.ceil((spent + cost * interval) / 1000) + 1)
end
return string.format('%.0f', spent)
"""

log = structlog.get_logger(__name__)


class SharedBuckets:
    """Used on one event loop."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, max_connections=64
        )
        self._script = self._redis.register_script(_TAKE)
        self._local = LocalBuckets()
        self._silent_until = 0.0

    async def take(self, key: str, limit: Limit, cost: int = 1) -> Verdict:
        """See :class:`app.rates.bucket.Buckets`."""
        if time.monotonic() < self._silent_until:
            return await self._local.take(key, limit, cost)
        arguments = [round(limit.window_s * 1e6), round(limit.interval_s * 1e6), cost]
        try:
            spent = await self._script(keys=[PREFIX + key], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._silent_until = time.monotonic() + SILENCE_S
            log.warning("rates.redis_failed", error=str(error))
            return await self._local.take(key, limit, cost)
        return judge(limit, float(spent) / 1e6, 0.0, cost)[0]

    async def aclose(self) -> None:
        """Leave Redis, on the loop that used it."""
        await self._redis.aclose()
