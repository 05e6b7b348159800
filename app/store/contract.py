"""The contract of an object store: immutable blobs under unique keys.

Keys are made by the hub, used once and never reused (``app.store.keys``), so no implementation
needs preconditions and a late delete cannot hit somebody else's bytes. Implementations are proven
by ``tests/app/store/contract.py``; wrappers (guard, retry, meter, fault injection) compose.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import HubError, StorageFull, Unavailable


class ObjectMissing(HubError):
    """No object under this key."""


class StoreUnavailable(Unavailable):
    """The store did not answer, or answered with a transient failure; may be retried."""


class StoreRefused(StoreUnavailable):
    """The store will not serve us as it is set up (credentials, bucket); retrying is no use."""

    transient = False


class StoreFull(StoreRefused, StorageFull):
    """No room for another object."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object as the store lists it."""

    key: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class UnfinishedPut:
    """A put in parts that has begun; its parts take space and are in no listing."""

    key: str
    id: str
    """The store's name for it."""


@dataclass(frozen=True, slots=True)
class PresignedRequest:
    """A request that a client may make to the store itself."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class OperationUsage:
    """What one operation of a store was asked for so far. Failures are part of ``calls``."""

    operation: str
    calls: int
    failures: int
    read_nbytes: int
    written_nbytes: int
    busy_s: float


class ObjectStore(ABC):
    """Immutable blobs by key. Thread-safe. All sizes in bytes.

    Every method may raise :class:`StoreUnavailable`. None retries by itself, with one exception:
    an implementation that sends a stream in parts retries a part, as nobody else can replay it.
    """

    can_presign: bool = False
    """Whether :meth:`presign_get` and :meth:`presign_put` work."""

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Store the concatenation of ``chunks`` durably; returns its size.

        All or nothing: the object is visible under ``key`` only once complete and durable (fsync,
        or the store's own acknowledgement). If ``chunks`` raises, nothing is left behind and the
        exception passes through. Memory is bounded regardless of the size.
        """

    @abstractmethod
    def put_file(self, key: str, path: Path) -> int:
        """Store a local file durably, as :meth:`put` does. The file may be moved, not copied."""

    @abstractmethod
    def read(self, key: str, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``, exactly ``stop - start`` of them, in one request.

        Raises :class:`ObjectMissing`; StoreUnavailable also for a short answer. ``start == stop``
        gives ``b""``.
        """

    @abstractmethod
    def stat(self, key: str) -> ObjectStat | None:
        """Size of an object, None if there is none."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error if it is not there."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """All objects whose key starts with ``prefix``, in key order."""

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedPut]:
        """Puts under keys that start with ``prefix`` that have neither completed nor been given up.

        Empty where a store tidies up behind dead writers by itself.
        """
        del prefix
        return iter(())

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """Free what its parts hold; it cannot complete any more. No error if it ended meanwhile."""
        raise NotImplementedError

    def presign_get(self, key: str, *, start: int, stop: int, expires_s: float) -> PresignedRequest:
        """A ranged GET that a client may send within ``expires_s`` seconds."""
        raise NotImplementedError

    def presign_put(self, key: str, *, nbytes: int, expires_s: float) -> PresignedRequest:
        """A PUT of exactly ``nbytes`` that a client may send. For staging keys only."""
        raise NotImplementedError

    def usage(self) -> Sequence[OperationUsage]:
        """Traffic since the store was opened, per operation; empty unless metered."""
        return ()

    def close(self) -> None:
        """Release connections. The store is not used afterwards."""
