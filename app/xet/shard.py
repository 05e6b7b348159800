"""The shard format: which chunks of which xorbs the uploaded files consist of.

Source: hub-docs ``docs/xet/shard.md``. All records are 48 bytes: a header, then per file a file
header, its terms, a verification record per term and a metadata record (the last two by flags), a
bookend; then the xorbs' chunk lists, which are read over (the hub made its own when the xorbs came
in), and a second bookend. An uploaded shard has no footer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from tempfile import SpooledTemporaryFile

import numpy as np

from app.errors import InvalidRequest, LimitExceeded
from app.settings import Limits
from app.xet.hashing import format_digest

MAGIC = b"HFRepoMetaData\x00UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9"
VERSION = 2
RECORD_NBYTES = 48
WITH_VERIFICATION = 1 << 31
WITH_METADATA = 1 << 30
BOOKEND = b"\xff" * 32

SPOOL_NBYTES = 4 << 20
"""Shards up to this size are held in memory."""

TERM = np.dtype(
    [
        ("xorb", "u1", (32,)),
        ("flags", "<u4"),
        ("nbytes", "<u4"),
        ("start", "<u4"),
        ("stop", "<u4"),
    ]
)
CHECK = np.dtype([("digest", "u1", (32,)), ("unused", "u1", (16,))])


class ShardInvalid(InvalidRequest):
    """The bytes are no shard, or the shard contradicts the xorbs it names."""


@dataclass(frozen=True, slots=True)
class Term:
    """A run of a file: chunks ``[start, stop)`` of a xorb, ``nbytes`` raw bytes in all."""

    xorb: bytes
    start: int
    stop: int
    nbytes: int
    check: bytes | None
    """Verification digest; None where the shard has none."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file as a shard describes it. The terms stay in the shard's buffer until asked for."""

    digest: bytes
    """Xet file digest."""
    sha256: bytes | None
    terms_view: np.ndarray
    checks_view: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Size of the file as the terms declare it."""
        return int(self.terms_view["nbytes"].sum(dtype=np.uint64))

    def terms(self) -> Iterator[Term]:
        """The terms in order."""
        for index, row in enumerate(self.terms_view):
            check = None if self.checks_view is None else self.checks_view[index]
            yield Term(
                xorb=row["xorb"].tobytes(),
                start=int(row["start"]),
                stop=int(row["stop"]),
                nbytes=int(row["nbytes"]),
                check=None if check is None else check["digest"].tobytes(),
            )


def read_shard(buffers: Iterable[bytes], limits: Limits) -> list[ShardFile]:
    """The files of a shard that arrives in buffers; raises as :func:`parse_shard`.

    A big one waits in a temporary file instead of memory, until its last file was let go.
    """
    with SpooledTemporaryFile(max_size=SPOOL_NBYTES) as spool:
        for buffer in buffers:
            spool.write(buffer)
            if spool.tell() > limits.shard_nbytes:
                raise LimitExceeded("the shard is too big", setting="limits.shard_nbytes")
        if spool.tell() <= SPOOL_NBYTES:
            spool.seek(0)
            return parse_shard(spool.read(), limits)
        spool.flush()
        return parse_shard(mmap(spool.fileno(), 0, access=ACCESS_READ), limits)


def parse_shard(shard: bytes | mmap, limits: Limits) -> list[ShardFile]:
    """The files of a shard.

    Raises :class:`ShardInvalid` for anything that is not a whole shard, :class:`LimitExceeded` for
    too many files or files that together exceed ``limits.file_nbytes``.
    """
    if len(shard) > limits.shard_nbytes:
        raise LimitExceeded("the shard is too big", setting="limits.shard_nbytes")
    cursor = _Cursor(shard)
    header = cursor.records(1)
    if header[:32] != MAGIC:
        raise ShardInvalid("not a shard")
    version, footer_nbytes = _words(header)
    if version != VERSION or footer_nbytes != 0:
        raise ShardInvalid("a shard of another version, or with a footer")
    files = _read_files(cursor, limits)
    _skip_xorbs(cursor)
    if cursor.at != len(shard):
        raise ShardInvalid("bytes after the end of the shard")
    return files


class _Cursor:
    """Reads records in order and never beyond the end."""

    def __init__(self, data: bytes | mmap) -> None:
        self._view = memoryview(data)
        self.at = 0

    def records(self, count: int) -> memoryview:
        nbytes = count * RECORD_NBYTES
        if nbytes > len(self._view) - self.at:
            raise ShardInvalid("the shard ends early")
        self.at += nbytes
        return self._view[self.at - nbytes : self.at]


def _words(record: memoryview) -> tuple[int, int]:
    tail = np.frombuffer(record[32:48], "<u8")
    return int(tail[0]), int(tail[1])


def _read_files(cursor: _Cursor, limits: Limits) -> list[ShardFile]:
    files: list[ShardFile] = []
    total = 0
    while True:
        header = cursor.records(1)
        digest = bytes(header[:32])
        if digest == BOOKEND:
            return files
        if len(files) == limits.shard_files:
            raise LimitExceeded("the shard has too many files", setting="limits.shard_files")
        flags = int.from_bytes(header[32:36], "little")
        count = int.from_bytes(header[36:40], "little")
        if count == 0:
            raise ShardInvalid("a file without terms")
        terms = np.frombuffer(cursor.records(count), TERM)
        checks = None
        if flags & WITH_VERIFICATION:
            checks = np.frombuffer(cursor.records(count), CHECK)
        sha256 = None
        if flags & WITH_METADATA:
            # Stored as every Xet digest is: its text is the usual hex, its bytes are swapped.
            sha256 = bytes.fromhex(format_digest(bytes(cursor.records(1)[:32])))
        file = ShardFile(digest=digest, sha256=sha256, terms_view=terms, checks_view=checks)
        total += file.nbytes
        if total > limits.file_nbytes:
            raise LimitExceeded("the files are too big", setting="limits.file_nbytes")
        files.append(file)


def _skip_xorbs(cursor: _Cursor) -> None:
    while True:
        header = cursor.records(1)
        if header[:32] == BOOKEND:
            return
        cursor.records(int.from_bytes(header[36:40], "little"))
