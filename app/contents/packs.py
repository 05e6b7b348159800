"""Many frames in few objects: a model's norms and biases must not cost a request each.

A pack is a plain concatenation of frames; where each lies is known to the database only.
"""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sqlalchemy.exc import SQLAlchemyError

from app.contents import objects
from app.contents.objects import PendingObject
from app.contents.readback import Placement, read_back
from app.digest import PieceHasher, piece_checks
from app.errors import HubError
from app.hub import Hub

PACK_NBYTES = 64 << 20
"""A pack grows to about this size; a frame beyond it has an object of its own."""

SPOOL_NBYTES = 8 << 20
"""Frames beyond this wait on disk instead of in memory."""

_COPY_NBYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pack:
    """A durable object that was read back and waits to be published."""

    pending: PendingObject
    nbytes: int


@dataclass(frozen=True, slots=True)
class PackedEncoding:
    """Where the frame of a content lies now."""

    content_id: int
    codec: str
    base_id: int | None
    pack: Pack
    start: int
    nbytes: int
    checks: bytes

    @property
    def object_id(self) -> int:
        """Row of the object that holds the frame."""
        return self.pack.pending.id


@dataclass(frozen=True, slots=True)
class _Waiting:
    content_id: int
    codec: str
    base_id: int | None
    placement: Placement


class PackWriter:
    """Collects frames and stores them durably. One thread; a context manager.

    Leaving the context by an exception gives up every pack, published ones excepted; so does
    :meth:`abandon`. What is neither published nor given up expires as an intent.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_NBYTES)  # noqa: SIM115
        self._spooled_nbytes = 0
        self._waiting: list[_Waiting] = []
        self._pending: list[PendingObject] = []
        self._packed: list[PackedEncoding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spool.close()
        if error is not None:
            with suppress(HubError, SQLAlchemyError):
                self.abandon()

    def add(self, content_id: int, codec: str, base_id: int | None, frame: bytes | Path) -> None:
        """Take a frame. Bytes and files are copied; a file beyond a pack's size is moved.

        Raises StoreUnavailable, and :class:`~app.errors.Unavailable` if a full pack, stored on the
        way, does not read back.
        """
        nbytes = frame.stat().st_size if isinstance(frame, Path) else len(frame)
        if nbytes > PACK_NBYTES:
            checks = _checks_of(frame)
            self._store([_Waiting(content_id, codec, base_id, Placement(0, nbytes, checks))], frame)
            return
        if self._spooled_nbytes + nbytes > PACK_NBYTES:
            self._flush()
        checks = self._append(frame)
        placement = Placement(self._spooled_nbytes, nbytes, checks)
        self._waiting.append(_Waiting(content_id, codec, base_id, placement))
        self._spooled_nbytes += nbytes

    def close(self) -> list[PackedEncoding]:
        """Store what waits. All frames added, durable and read back, to be published.

        Publish each distinct ``pack`` with ``objects.publish(session, pack.pending, pack.nbytes)``
        in the transaction that first refers to it. Raises as :meth:`add` does.
        """
        self._flush()
        self._spool.close()
        return self._packed

    def abandon(self) -> None:
        """Give up every pack that was not published."""
        for pending in self._pending:
            objects.abandon(self._hub, pending)

    def _append(self, frame: bytes | Path) -> bytes:
        if not isinstance(frame, Path):
            self._spool.write(frame)
            return piece_checks(frame)
        hasher = PieceHasher()
        with frame.open("rb") as source:
            for part in _parts(source):
                self._spool.write(part)
                hasher.update(part)
        return hasher.digest()

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._spool.seek(0)
        self._store(self._waiting, self._spool)
        self._waiting = []
        self._spooled_nbytes = 0
        self._spool.seek(0)
        self._spool.truncate()

    def _store(self, waiting: list[_Waiting], source: bytes | Path | IO[bytes]) -> None:
        pending = objects.begin(self._hub, "pack")
        self._pending.append(pending)
        store = self._hub.store
        if isinstance(source, Path):
            nbytes = store.put_file(pending.key, source)
        elif isinstance(source, bytes):
            nbytes = store.put(pending.key, [source])
        else:
            nbytes = store.put(pending.key, _parts(source))
        read_back(self._hub, pending.key, (each.placement for each in waiting))
        pack = Pack(pending, nbytes)
        self._packed += [
            PackedEncoding(
                content_id=each.content_id,
                codec=each.codec,
                base_id=each.base_id,
                pack=pack,
                start=each.placement.start,
                nbytes=each.placement.nbytes,
                checks=each.placement.checks,
            )
            for each in waiting
        ]


def _checks_of(frame: bytes | Path) -> bytes:
    if not isinstance(frame, Path):
        return piece_checks(frame)
    hasher = PieceHasher()
    with frame.open("rb") as source:
        for part in _parts(source):
            hasher.update(part)
    return hasher.digest()


def _parts(source: IO[bytes]) -> Iterator[bytes]:
    while part := source.read(_COPY_NBYTES):
        yield part
