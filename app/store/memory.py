"""Objects in a dictionary: the smallest store that keeps the contract, for tests and trials."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.store.contract import ObjectMissing, ObjectStat, ObjectStore, StoreUnavailable
from app.store.keys import check_key


class MemoryStore(ObjectStore):
    """Gone with the process; durable only as long as it lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Keep a copy of the joined chunks."""
        check_key(key)
        data = b"".join(bytes(chunk) for chunk in chunks)  # their buffers may be used again
        with self._lock:
            self._objects[key] = data
        return len(data)

    def put_file(self, key: str, path: Path) -> int:
        """Keep a copy of the file."""
        return self.put(key, [path.read_bytes()])

    def read(self, key: str, start: int, stop: int) -> bytes:
        """A slice."""
        with self._lock:
            data = self._objects.get(check_key(key))
        if data is None:
            raise ObjectMissing(f"no object {key}")
        if not 0 <= start <= stop <= len(data):
            raise StoreUnavailable(f"{key} has {len(data)} bytes, asked for [{start}, {stop})")
        return data[start:stop]

    def stat(self, key: str) -> ObjectStat | None:
        """Size, or None."""
        with self._lock:
            data = self._objects.get(check_key(key))
        return None if data is None else ObjectStat(key, len(data))

    def delete(self, key: str) -> None:
        """Forget the object."""
        with self._lock:
            self._objects.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """A snapshot taken at the first step."""
        with self._lock:
            stats = [ObjectStat(k, len(v)) for k, v in self._objects.items()]
        yield from sorted((s for s in stats if s.key.startswith(prefix)), key=lambda s: s.key)
