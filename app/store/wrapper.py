"""A store around a store: passes every call on, so that a wrapper overrides what it changes."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from app.store.contract import (
    ObjectStat,
    ObjectStore,
    OperationUsage,
    PresignedRequest,
    UnfinishedPut,
)


class StoreWrapper(ObjectStore):
    """Delegates to ``inner``."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.can_presign = inner.can_presign

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """As the inner store."""
        return self.inner.put(key, chunks)

    def put_file(self, key: str, path: Path) -> int:
        """As the inner store."""
        return self.inner.put_file(key, path)

    def read(self, key: str, start: int, stop: int) -> bytes:
        """As the inner store."""
        return self.inner.read(key, start, stop)

    def stat(self, key: str) -> ObjectStat | None:
        """As the inner store."""
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        """As the inner store."""
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """As the inner store."""
        return self.inner.list(prefix)

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedPut]:
        """As the inner store."""
        return self.inner.list_unfinished(prefix)

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """As the inner store."""
        self.inner.give_up(unfinished)

    def presign_get(self, key: str, *, start: int, stop: int, expires_s: float) -> PresignedRequest:
        """As the inner store."""
        return self.inner.presign_get(key, start=start, stop=stop, expires_s=expires_s)

    def presign_put(self, key: str, *, nbytes: int, expires_s: float) -> PresignedRequest:
        """As the inner store."""
        return self.inner.presign_put(key, nbytes=nbytes, expires_s=expires_s)

    def usage(self) -> Sequence[OperationUsage]:
        """As the inner store."""
        return self.inner.usage()

    def close(self) -> None:
        """Close the inner store."""
        self.inner.close()
