"""What every object store promises; each implementation's tests inherit it."""

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.contract import ObjectMissing, ObjectStat, ObjectStore, StoreUnavailable
from app.store.keys import object_key, staging_key

MIB = 1 << 20
BIG_NBYTES = 60 * MIB + 12345
"""More than two parts of any implementation."""


class StoreContract:
    """Subclasses give a fixture ``store``: empty, to be closed by it."""

    holds_objects_in_memory = False

    def test_put_returns_size_and_reads_back(self, store: ObjectStore):
        key = object_key("e1")
        assert store.put(key, [b"ab", memoryview(b"cd"), b"", b"e"]) == 5
        assert store.read(key, 0, 5) == b"abcde"
        assert store.stat(key) == ObjectStat(key, 5)

    def test_empty_object(self, store: ObjectStore):
        key = object_key("e1")
        assert store.put(key, iter(())) == 0
        assert store.stat(key) == ObjectStat(key, 0)
        assert store.read(key, 0, 0) == b""

    @given(data=st.binary(max_size=300), cuts=st.data())
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    def test_every_range_is_the_slice(self, store: ObjectStore, data: bytes, cuts: st.DataObject):
        key = object_key("e1")
        step = cuts.draw(st.integers(1, 100))
        store.put(key, (data[i : i + step] for i in range(0, len(data), step)))
        start = cuts.draw(st.integers(0, len(data)))
        stop = cuts.draw(st.integers(start, len(data)))
        assert store.read(key, start, stop) == data[start:stop]

    def test_range_beyond_the_end_is_unavailable_not_short(self, store: ObjectStore):
        key = object_key("e1")
        store.put(key, [b"0123456789"])
        for start, stop in ((0, 11), (9, 20), (10, 11), (50, 60)):
            with pytest.raises(StoreUnavailable):
                store.read(key, start, stop)

    def test_missing_object(self, store: ObjectStore):
        key = object_key("e1")
        assert store.stat(key) is None
        with pytest.raises(ObjectMissing):
            store.read(key, 0, 1)

    @pytest.mark.parametrize("error", [ValueError("broken stream"), OSError("broken socket")])
    @pytest.mark.parametrize("nbytes_before", [0, 10, 30 * MIB])
    def test_put_is_all_or_nothing(self, store: ObjectStore, error: Exception, nbytes_before: int):
        key = object_key("e1")

        def chunks() -> Iterator[bytes]:
            for start in range(0, nbytes_before, MIB):
                yield bytes(min(MIB, nbytes_before - start))
            raise error

        with pytest.raises(type(error)) as raised:
            store.put(key, chunks())
        assert raised.value is error
        assert store.stat(key) is None
        assert list(store.list()) == []
        assert self.left_behind() == []

    def test_object_appears_only_when_complete(self, store: ObjectStore):
        key = object_key("e1")
        seen: list[object] = []

        def chunks() -> Iterator[bytes]:
            for _ in range(3):
                yield bytes(10 * MIB)
                seen.extend((store.stat(key), list(store.list())))

        store.put(key, chunks())
        assert [s for s in seen if s] == []
        assert store.stat(key) == ObjectStat(key, 30 * MIB)

    def test_big_stream_in_bounded_memory(self, store: ObjectStore):
        key = object_key("e1")
        digest = hashlib.sha256()
        buffer = bytearray(MIB)

        def chunks() -> Iterator[memoryview]:
            for number in range(0, BIG_NBYTES, MIB):
                buffer[:8] = number.to_bytes(8, "big")
                view = memoryview(buffer)[: BIG_NBYTES - number]
                digest.update(view)
                yield view  # the same buffer again: the store must not keep it

        tracemalloc.start()
        try:
            assert store.put(key, chunks()) == BIG_NBYTES
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if not self.holds_objects_in_memory:
            assert peak < 56 * MIB
        read = hashlib.sha256()
        for start in range(0, BIG_NBYTES, 7 * MIB):
            read.update(store.read(key, start, min(start + 7 * MIB, BIG_NBYTES)))
        assert read.digest() == digest.digest()

    @pytest.mark.parametrize("nbytes", [0, 1, 3 * MIB, 20 * MIB + 1])
    def test_put_file(self, store: ObjectStore, tmp_path: Path, nbytes: int):
        key = object_key("e1")
        data = hashlib.shake_128(b"file").digest(nbytes)
        path = tmp_path / "file"
        path.write_bytes(data)
        assert store.put_file(key, path) == nbytes
        assert store.read(key, 0, nbytes) == data

    def test_put_file_of_missing_file(self, store: ObjectStore, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            store.put_file(object_key("e1"), tmp_path / "none")
        assert list(store.list()) == []

    def test_delete_is_idempotent(self, store: ObjectStore):
        key, other = object_key("e1"), object_key("e1")
        store.put(key, [b"1"])
        store.put(other, [b"2"])
        store.delete(key)
        store.delete(key)
        assert store.stat(key) is None
        assert [s.key for s in store.list()] == [other]

    def test_list_is_in_key_order_and_by_prefix(self, store: ObjectStore):
        keys = ["a", "o/e-1/x", "o/e/x", "o/e/y/z", "o/e0", "o/e1/aa/1", "o/e1/b", "s/e1/c"]
        for number, key in enumerate(reversed(keys)):
            store.put(key, [bytes(number)])
        assert [s.key for s in store.list()] == sorted(keys)
        for prefix in ("o/", "o/e1/", "o/e", "o/e/", "s/e1/c", "none", "o/e1/aa/1/"):
            found = list(store.list(prefix))
            assert [s.key for s in found] == sorted(k for k in keys if k.startswith(prefix))
        assert [s.nbytes for s in store.list("a")] == [len(keys) - 1]

    def test_list_of_many(self, store: ObjectStore):
        keys = [f"o/e1/{n % 7:02x}/{n:05}" for n in range(1203)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: store.put(key, [b"x"]), keys))
        assert [s.key for s in store.list("o/e1/")] == sorted(keys)

    def test_concurrent_puts_and_reads(self, store: ObjectStore):
        begin = threading.Barrier(8)

        def put_and_read(seed: int) -> bool:
            key = object_key("e1")
            data = hashlib.shake_128(bytes([seed])).digest(MIB + seed)
            begin.wait()
            store.put(key, [data[:1000], data[1000:]])
            return store.read(key, 0, len(data)) == data

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(put_and_read, range(8)))
        assert len(list(store.list())) == 8

    def test_put_twice_leaves_the_same_bytes(self, store: ObjectStore):
        key = staging_key("e1")
        for _ in range(2):
            store.put(key, [b"same"])
        assert store.read(key, 0, 4) == b"same"

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a b", "ä"])
    def test_foreign_keys_are_refused(self, store: ObjectStore, key: str):
        with pytest.raises(ValueError):
            store.put(key, [b"x"])
        with pytest.raises(ValueError):
            store.read(key, 0, 1)
        with pytest.raises(ValueError):
            store.delete(key)

    def left_behind(self) -> list[str]:
        """Traces of failed puts, looked for behind the store's back."""
        return []
