"""The memory store keeps the contract."""

import pytest

from app.store.memory import MemoryStore
from tests.app.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    holds_objects_in_memory = True

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
