"""Store I/O inside a database transaction is a bug that shows at once."""

from pathlib import Path

import pytest

from app.db import Database
from app.store.contract import ObjectStore
from app.store.guarded import GuardedStore
from app.store.local import LocalStore
from tests.app.store.contract import StoreContract


class TestGuardedStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return GuardedStore(LocalStore(tmp_path / "objects"))


def test_every_call_in_a_transaction_raises(
    any_store: ObjectStore, any_database: Database, tmp_path: Path
):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    calls = [
        lambda: any_store.put("o/a", [b"x"]),
        lambda: any_store.put_file("o/a", path),
        lambda: any_store.read("o/a", 0, 1),
        lambda: any_store.stat("o/a"),
        lambda: any_store.delete("o/a"),
        any_store.list,
        lambda: any_store.presign_get("o/a", start=0, stop=1, expires_s=1),
        lambda: any_store.presign_put("o/a", nbytes=1, expires_s=1),
    ]
    for section in (any_database.read, any_database.write):
        with section():
            for call in calls:
                with pytest.raises(RuntimeError, match="inside a database transaction"):
                    call()
    assert any_store.stat("o/a") is None


def test_listing_begun_outside_cannot_go_on_inside(any_store: ObjectStore, any_database: Database):
    for name in "abc":
        any_store.put(f"o/{name}", [b"x"])
    listing = any_store.list()
    next(listing)
    with any_database.read(), pytest.raises(RuntimeError, match="list inside"):
        next(listing)
