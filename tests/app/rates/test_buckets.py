"""Token buckets: what a window lets through, alone and shared by processes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rates.bucket import Buckets, Limit, judge
from app.rates.local import LocalBuckets
from app.rates.shared import SharedBuckets


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(
    st.integers(1, 50),
    st.floats(0.5, 600),
    st.lists(st.floats(0, 30), max_size=200),
)
def test_no_window_lets_more_through_than_twice_the_quota(quota, window_s, gaps):
    """A full bucket at once, and what flows in meanwhile: never more in any window."""
    limit, now, full_at, passed = Limit(quota, window_s), 0.0, 0.0, []
    for gap in gaps:
        now += gap
        verdict, full_at = judge(limit, full_at, now, 1)
        if verdict.allowed:
            passed.append(now)
            assert 0 <= verdict.remaining < quota
        else:
            assert verdict.retry_s > 0
            assert judge(limit, full_at, now + verdict.retry_s + 1e-6, 1)[0].allowed
    for start in passed:
        assert sum(start <= at < start + window_s for at in passed) <= 2 * quota


def test_a_bucket_fills_again_with_time():
    clock = Clock()
    buckets, limit = LocalBuckets(clock), Limit(3, 30)

    async def run() -> None:
        seen = [await buckets.take("a", limit) for _ in range(4)]
        assert [each.remaining for each in seen] == [2, 1, 0, 0]
        assert [each.allowed for each in seen] == [True, True, True, False]
        assert seen[-1].retry_s == pytest.approx(10)
        assert (await buckets.take("b", limit)).allowed
        clock.now += 10
        assert (await buckets.take("a", limit)).allowed
        assert not (await buckets.take("a", limit, 0)).allowed
        clock.now += 30
        assert (await buckets.take("a", limit, 0)).remaining == 3

    asyncio.run(run())


async def spend(buckets: Buckets, key: str, limit: Limit, times: int) -> list[bool]:
    return [(await buckets.take(key, limit)).allowed for _ in range(times)]


def test_processes_share_one_bucket(empty_redis: str):
    async def run() -> None:
        one, other = SharedBuckets(empty_redis), SharedBuckets(empty_redis)
        limit = Limit(4, 3_600)
        assert await spend(one, "a", limit, 3) == [True] * 3
        assert await spend(other, "a", limit, 2) == [True, False]
        refused = await one.take("a", limit)
        assert not refused.allowed
        assert 0 < refused.retry_s <= 900
        assert (await other.take("b", limit)).remaining == 3
        assert not (await other.take("a", limit, 0)).allowed
        await one.aclose()
        await other.aclose()

    asyncio.run(run())


def test_each_counts_for_itself_while_redis_is_away():
    async def run() -> None:
        buckets = SharedBuckets("redis://127.0.0.1:1/0")
        assert await spend(buckets, "a", Limit(2, 3_600), 3) == [True, True, False]
        await buckets.aclose()

    asyncio.run(run())
