"""A pack taken apart into a scratch file: bounded, whatever it claims to hold.

Source: git's gitformat-pack(5). Sizes are checked before anything is inflated or copied, so neither
a zip bomb nor a delta bomb gets further than its header. Every object is stored inflated once, so a
long chain of deltas costs what its objects cost.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, Self

from dulwich.errors import ApplyDeltaError
from dulwich.pack import apply_delta

from app.catalog.git_objects import object_oid
from app.errors import InvalidRequest, LimitExceeded
from app.git.objects import GitObject
from app.git.pack_stream import PackStream
from app.git.pkt import PktReader
from app.settings import Limits

_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFFSET_DELTA = 6
_ID_DELTA = 7

FindBases = Callable[[Iterable[str]], Iterator[GitObject]]
"""Objects that a thin pack leaves out, by id."""


class _Kept(NamedTuple):
    kind: str
    start: int
    nbytes: int


class _Waiting(NamedTuple):
    """A delta whose base did not come yet."""

    offset: int
    start: int
    nbytes: int


class UnpackedObjects:
    """The objects of one push, in a temporary file that is gone when this is closed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._end = 0
        self._spent_nbytes = 0
        self._oversized: dict[str, int] = {}
        self._kept: dict[str, _Kept] = {}
        self._oid_at: dict[int, str] = {}
        self._waiting: dict[int | str, list[_Waiting]] = defaultdict(list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, oid: str) -> bool:
        return oid in self._kept

    def oids(self) -> Iterator[str]:
        """Everything that came, and the bases of a thin pack."""
        return iter(self._kept)

    def kind(self, oid: str) -> str | None:
        """What an object is; None if it did not come."""
        kept = self._kept.get(oid)
        return None if kept is None else kept.kind

    def oversized_nbytes(self, oid: str) -> int | None:
        """Length of a blob that is too long to be a plain file; None for any other object."""
        return self._oversized.get(oid)

    def nbytes(self, oid: str) -> int:
        """Length of an object's body."""
        return self._kept[oid].nbytes

    def body(self, oid: str) -> bytes:
        """An object's body."""
        kept = self._kept[oid]
        return self._read(kept.start, kept.nbytes)

    def read_pack(self, reader: PktReader, find_bases: FindBases) -> None:
        """Take in a whole pack. ``find_bases`` has the objects that a thin pack builds upon.

        Raises InvalidRequest or IntegrityError for a pack that is none, and LimitExceeded.
        """
        pack = PackStream(reader, self._limits.push_nbytes)
        count = pack.begin()
        if count > self._limits.push_objects:
            raise LimitExceeded(f"{count} objects in one push", setting="limits.push_objects")
        for _ in range(count):
            self._read_entry(pack)
        pack.finish()
        self._resolve_thin(find_bases)

    def _read_entry(self, pack: PackStream) -> None:
        offset = pack.offset
        number, nbytes = pack.entry_head()
        self._spend(nbytes)
        if nbytes > self._limits.inline_file_nbytes:
            if _KINDS.get(number) != "blob":
                raise _too_big(nbytes)
            self._oversized[_blob_oid(pack.parts(nbytes), nbytes)] = nbytes
            return
        if number in _KINDS:
            self._keep(offset, _KINDS[number], pack.inflate(nbytes))
            return
        base: int | str
        if number == _OFFSET_DELTA:
            base = offset - pack.base_distance()
        elif number == _ID_DELTA:
            base = pack.read(20).hex()
        else:
            raise InvalidRequest("the pack holds an object of unknown type")
        delta = pack.inflate(nbytes)
        base_oid = self._oid_at.get(base) if isinstance(base, int) else base
        if base_oid in self._kept:
            self._keep_patched(offset, base_oid, delta)
        else:
            self._waiting[base].append(_Waiting(offset, self._write(delta), nbytes))

    def _keep(self, offset: int, kind: str, body: bytes) -> None:
        """Store an object, and those that waited for it."""
        self._store(offset, kind, body)
        self._release([offset, self._oid_at[offset]])

    def _keep_patched(self, offset: int, base_oid: str, delta: bytes) -> None:
        base = self._kept[base_oid]
        self._keep(offset, base.kind, self._patched(base_oid, delta))

    def _store(self, offset: int, kind: str, body: bytes) -> str:
        oid = object_oid(kind, body)
        if oid not in self._kept:
            self._kept[oid] = _Kept(kind, self._write(body), len(body))
        self._oid_at[offset] = oid
        return oid

    def _release(self, places: list[int | str]) -> None:
        """Patch everything that stands on these, directly or not."""
        while places:
            place = places.pop()
            base_oid = self._oid_at[place] if isinstance(place, int) else place
            for waiting in self._waiting.pop(place, ()):
                delta = self._read(waiting.start, waiting.nbytes)
                body = self._patched(base_oid, delta)
                oid = self._store(waiting.offset, self._kept[base_oid].kind, body)
                places += [waiting.offset, oid]

    def _patched(self, base_oid: str, delta: bytes) -> bytes:
        nbytes = _result_nbytes(delta)
        if nbytes > self._limits.inline_file_nbytes:
            raise _too_big(nbytes)
        self._spend(nbytes)
        try:
            return b"".join(apply_delta(self.body(base_oid), delta))
        except (ApplyDeltaError, ValueError) as error:
            raise InvalidRequest(f"the pack holds a broken delta: {error}") from None

    def _resolve_thin(self, find_bases: FindBases) -> None:
        wanted = [base for base in self._waiting if isinstance(base, str)]
        for base in find_bases(wanted):
            self._spend(len(base.body))
            if base.oid not in self._kept:
                self._kept[base.oid] = _Kept(base.kind, self._write(base.body), len(base.body))
            self._release([base.oid])
        if self._waiting:
            raise InvalidRequest("the pack holds deltas against objects that are not here")

    def _spend(self, nbytes: int) -> None:
        self._spent_nbytes += nbytes
        if self._spent_nbytes > self._limits.push_nbytes:
            raise LimitExceeded(
                "the push unpacks to too many bytes; push big files by git-lfs, or less at a time",
                setting="limits.push_nbytes",
            )

    def _write(self, data: bytes) -> int:
        start = self._end
        self._file.seek(start)
        self._file.write(data)
        self._end += len(data)
        return start

    def _read(self, start: int, nbytes: int) -> bytes:
        self._file.seek(start)
        return self._file.read(nbytes)


def _result_nbytes(delta: bytes) -> int:
    """What a delta says that it makes."""
    at = nbytes = 0
    for _ in range(2):
        nbytes = shift = 0
        while True:
            if at >= len(delta) or shift > 63:
                raise InvalidRequest("the pack holds a broken delta")
            byte = delta[at]
            at += 1
            nbytes |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
    return nbytes


def _blob_oid(parts: Iterable[bytes], nbytes: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % nbytes, usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _too_big(nbytes: int) -> LimitExceeded:
    return LimitExceeded(
        f"an object of {nbytes} bytes is too big for git: track such files by git-lfs",
        setting="limits.inline_file_nbytes",
    )
