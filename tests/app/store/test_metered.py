"""The meter counts what was really asked of a store."""

from pathlib import Path

import pytest

from app.store.contract import ObjectMissing, ObjectStore, StoreUnavailable
from app.store.local import LocalStore
from app.store.memory import MemoryStore
from app.store.metered import MeteredStore
from tests.app.store.contract import StoreContract
from tests.fixtures.faulty import Fault, FaultyStore


class TestMeteredStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return MeteredStore(LocalStore(tmp_path / "objects"))


def test_calls_bytes_and_failures_are_counted(tmp_path: Path):
    faulty = FaultyStore(MemoryStore())
    store = MeteredStore(faulty)
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    store.put("o/a", iter([b"123", b"456"]))
    store.put_file("o/b", path)
    store.read("o/a", 1, 3)
    with pytest.raises(ObjectMissing):
        store.read("o/none", 0, 1)
    faulty.fail("put", Fault.BEFORE)
    with pytest.raises(StoreUnavailable):
        store.put("o/c", [b"lost"])
    list(store.list())
    sums = {
        u.operation: (u.calls, u.failures, u.read_nbytes, u.written_nbytes) for u in store.usage()
    }
    assert sums == {
        "list": (1, 0, 0, 0),
        "put": (3, 1, 0, 11),
        "read": (2, 1, 2, 0),
    }


def test_wrapped_store_shows_its_usage(any_store: ObjectStore):
    any_store.put("o/a", [b"x"])
    assert [u.operation for u in any_store.usage()] == ["put"]
