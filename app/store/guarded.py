"""A wrapper that refuses store I/O while the calling context has a database transaction open."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from app.guard import forbid_in_transaction
from app.store.contract import ObjectStat, PresignedRequest, UnfinishedPut
from app.store.wrapper import StoreWrapper


class GuardedStore(StoreWrapper):
    """Raises RuntimeError for every call made inside a transaction, see ``app.guard``."""

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Guarded."""
        forbid_in_transaction("put")
        return self.inner.put(key, chunks)

    def put_file(self, key: str, path: Path) -> int:
        """Guarded."""
        forbid_in_transaction("put_file")
        return self.inner.put_file(key, path)

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Guarded."""
        forbid_in_transaction("read")
        return self.inner.read(key, start, stop)

    def stat(self, key: str) -> ObjectStat | None:
        """Guarded."""
        forbid_in_transaction("stat")
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        """Guarded."""
        forbid_in_transaction("delete")
        self.inner.delete(key)

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedPut]:
        """Guarded at the call: nobody keeps such a listing open."""
        forbid_in_transaction("list_unfinished")
        return self.inner.list_unfinished(prefix)

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """Guarded."""
        forbid_in_transaction("give_up")
        self.inner.give_up(unfinished)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Guarded at the call and at every step, as a page may be fetched at any of them."""
        forbid_in_transaction("list")
        return self._steps(prefix)

    def _steps(self, prefix: str) -> Iterator[ObjectStat]:
        for stat in self.inner.list(prefix):
            yield stat
            forbid_in_transaction("list")

    def presign_get(self, key: str, *, start: int, stop: int, expires_s: float) -> PresignedRequest:
        """Guarded: signing may have to fetch credentials."""
        forbid_in_transaction("presign_get")
        return self.inner.presign_get(key, start=start, stop=stop, expires_s=expires_s)

    def presign_put(self, key: str, *, nbytes: int, expires_s: float) -> PresignedRequest:
        """Guarded: signing may have to fetch credentials."""
        forbid_in_transaction("presign_put")
        return self.inner.presign_put(key, nbytes=nbytes, expires_s=expires_s)
