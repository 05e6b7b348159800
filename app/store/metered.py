"""A wrapper that counts calls, failures, bytes and seconds."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.store.contract import ObjectStat, ObjectStore, OperationUsage, UnfinishedPut
from app.store.wrapper import StoreWrapper


@dataclass(slots=True)
class _Call:
    """One call under way; the operation fills in what it moved."""

    read_nbytes: int = 0
    written_nbytes: int = 0
    failed: bool = False


class MeteredStore(StoreWrapper):
    """Counts every request to the inner store; :meth:`usage` gives the sums."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._usage: dict[str, OperationUsage] = {}

    def usage(self) -> Sequence[OperationUsage]:
        """Sums since opening, by name of the operation."""
        with self._lock:
            return [self._usage[name] for name in sorted(self._usage)]

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Counted."""
        with self._metered("put") as call:
            call.written_nbytes = self.inner.put(key, chunks)
        return call.written_nbytes

    def put_file(self, key: str, path: Path) -> int:
        """Counted."""
        with self._metered("put") as call:
            call.written_nbytes = self.inner.put_file(key, path)
        return call.written_nbytes

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Counted."""
        with self._metered("read") as call:
            data = self.inner.read(key, start, stop)
            call.read_nbytes = len(data)
        return data

    def stat(self, key: str) -> ObjectStat | None:
        """Counted."""
        with self._metered("stat"):
            return self.inner.stat(key)

    def delete(self, key: str) -> None:
        """Counted."""
        with self._metered("delete"):
            self.inner.delete(key)

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedPut]:
        """Counted once it ends."""
        with self._metered("list_unfinished"):
            yield from self.inner.list_unfinished(prefix)

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """Counted."""
        with self._metered("give_up"):
            self.inner.give_up(unfinished)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Counted once it ends."""
        with self._metered("list"):
            yield from self.inner.list(prefix)

    @contextmanager
    def _metered(self, operation: str) -> Iterator[_Call]:
        call = _Call()
        begun = time.monotonic()
        try:
            yield call
        except Exception:
            call.failed = True
            raise
        finally:
            self._add(operation, call, time.monotonic() - begun)

    def _add(self, operation: str, call: _Call, elapsed_s: float) -> None:
        with self._lock:
            so_far = self._usage.get(operation) or OperationUsage(operation, 0, 0, 0, 0, 0.0)
            self._usage[operation] = OperationUsage(
                operation=operation,
                calls=so_far.calls + 1,
                failures=so_far.failures + call.failed,
                read_nbytes=so_far.read_nbytes + call.read_nbytes,
                written_nbytes=so_far.written_nbytes + call.written_nbytes,
                busy_s=so_far.busy_s + elapsed_s,
            )
