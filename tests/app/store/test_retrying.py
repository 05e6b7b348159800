"""The retrying wrapper hides transient failures and never hides or repeats anything else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.contract import ObjectMissing, ObjectStore, StoreFull, StoreUnavailable
from app.store.local import LocalStore
from app.store.memory import MemoryStore
from app.store.retry import RetryPolicy
from app.store.retrying import REPLAY_NBYTES, RetryingStore
from tests.app.store.contract import StoreContract
from tests.fixtures.faulty import Fault, FaultyStore

AT_ONCE = RetryPolicy(sleep=lambda _seconds: None)


class TestRetryingStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return RetryingStore(LocalStore(tmp_path / "objects"), AT_ONCE)


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def store(faulty: FaultyStore) -> ObjectStore:
    return RetryingStore(faulty, AT_ONCE)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
@pytest.mark.parametrize("times", [1, 3])
def test_each_operation_survives_three_failures(
    faulty: FaultyStore, store: ObjectStore, fault: Fault, times: int, tmp_path: Path
):
    for operation in ("put", "put_file", "read", "stat", "delete", "list"):
        faulty.fail(operation, *[fault] * times)
    path = tmp_path / "file"
    path.write_bytes(b"file")
    assert store.put("o/a", iter([b"by", b"tes"])) == 5
    assert store.put_file("o/b", path) == 4
    assert store.read("o/a", 1, 4) == b"yte"
    assert store.stat("o/b") is not None
    store.delete("o/b")
    assert [s.key for s in store.list()] == ["o/a"]


@pytest.mark.parametrize("operation", ["read", "stat", "delete"])
def test_fourth_failure_is_told(faulty: FaultyStore, store: ObjectStore, operation: str):
    store.put("o/a", [b"x"])
    faulty.calls.clear()
    faulty.fail(operation, *[Fault.BEFORE] * 4)
    with pytest.raises(StoreUnavailable):
        {"read": lambda: store.read("o/a", 0, 1)}.get(
            operation, lambda: getattr(store, operation)("o/a")
        )()
    assert faulty.calls == [(operation, "o/a")] * 4


def test_truncated_answer_is_asked_for_again(faulty: FaultyStore, store: ObjectStore):
    store.put("o/a", [b"0123456789"])
    faulty.fail("read", Fault.TRUNCATED, Fault.TRUNCATED)
    assert store.read("o/a", 0, 10) == b"0123456789"


def test_answer_that_stays_short_is_unavailable(faulty: FaultyStore, store: ObjectStore):
    store.put("o/a", [b"0123456789"])
    faulty.fail("read", *[Fault.TRUNCATED] * 4)
    with pytest.raises(StoreUnavailable, match="9 of 10"):
        store.read("o/a", 0, 10)


def test_missing_object_is_not_asked_for_again(faulty: FaultyStore, store: ObjectStore):
    with pytest.raises(ObjectMissing):
        store.read("o/a", 0, 1)
    assert faulty.calls == [("read", "o/a")]


def test_refusal_is_not_repeated():
    calls: list[int] = []

    def full() -> None:
        calls.append(1)
        raise StoreFull("no space")

    with pytest.raises(StoreFull):
        AT_ONCE.call(full)
    assert len(calls) == 1


def test_short_stream_is_replayed_and_long_one_is_not(faulty: FaultyStore, store: ObjectStore):
    faulty.fail("put", Fault.BEFORE)
    assert store.put("o/short", (b"x" for _ in range(100))) == 100

    def long() -> Iterator[bytes]:
        for _ in range(REPLAY_NBYTES // 1024 + 2):
            yield bytes(1024)

    faulty.fail("put", Fault.BEFORE)
    with pytest.raises(StoreUnavailable):
        store.put("o/long", long())
    assert store.stat("o/long") is None
    assert store.put("o/long", long()) == REPLAY_NBYTES + 2048


def test_file_that_a_failed_try_moved_is_found(tmp_path: Path):
    faulty = FaultyStore(LocalStore(tmp_path / "objects"))
    store = RetryingStore(faulty, AT_ONCE)
    path = tmp_path / "file"
    path.write_bytes(b"moved once")
    faulty.fail("put_file", Fault.AFTER)
    assert store.put_file("o/a", path) == 10
    assert store.read("o/a", 0, 10) == b"moved once"


def test_listing_goes_on_where_it_broke(faulty: FaultyStore, store: ObjectStore):
    keys = [f"o/{n:02}" for n in range(10)]
    for key in keys:
        store.put(key, [b"x"])
    faulty.fail("step", Fault.NONE, Fault.NONE, Fault.AFTER, *[Fault.NONE] * 5, Fault.BEFORE)
    assert [s.key for s in store.list()] == keys


def test_waits_are_full_jitter_below_a_doubling_bound():
    waits: list[float] = []
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    policy = RetryPolicy(
        tries=6,
        first_wait_s=1,
        longest_wait_s=5,
        deadline_s=99,
        sleep=waits.append,
        uniform=uniform,
    )
    with pytest.raises(StoreUnavailable):
        policy.call(_unavailable)
    assert waits == [1, 2, 4, 5, 5]
    assert {low for low, _ in bounds} == {0}


def test_no_try_begins_after_the_deadline():
    time = [0.0]

    def advance(seconds: float) -> None:
        time[0] += seconds

    policy = RetryPolicy(
        tries=100,
        first_wait_s=4,
        longest_wait_s=4,
        deadline_s=10,
        sleep=advance,
        now=lambda: time[0],
        uniform=lambda _low, high: high,
    )
    with pytest.raises(StoreUnavailable):
        policy.call(_unavailable)
    assert time[0] == 8


def _unavailable() -> None:
    raise StoreUnavailable("down")
