"""Contents kept in stored form, by digest: a base crosses the wire once."""

import mmap
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import codec
from client.plan import RAW

DEFAULT_LIMIT_NBYTES = 20 << 30

RangeReader = Callable[[int, int], memoryview]
"""``read(start, stop)`` of raw bytes."""


class ContentCache:
    """A directory of stored contents, least recently used out first. Thread-safe.

    What is read from here is as good as the disk: whoever uses it checks digests.
    """

    def __init__(self, root: Path, limit_nbytes: int = DEFAULT_LIMIT_NBYTES) -> None:
        self._root = root / "contents"
        self._limit_nbytes = limit_nbytes
        self._lock = threading.Lock()
        self._nbytes: int | None = None

    def has(self, digest: bytes) -> bool:
        """Whether a content is here."""
        return self._find(digest) is not None

    def open(self, digest: bytes, nbytes: int) -> RangeReader | None:
        """A reader of a content's raw bytes; None if it is not here, or not readable any more."""
        path = self._find(digest)
        if path is None:
            return None
        try:
            os.utime(path)
            stored = memoryview(_mapped(path))
            if path.suffix == f".{RAW}":
                return (lambda start, stop: stored[start:stop]) if len(stored) == nbytes else None
            if codec.inspect(stored).raw_nbytes != nbytes:
                return None
        except (OSError, ValueError, codec.CodecError):
            self.drop(digest)
            return None
        return lambda start, stop: memoryview(codec.decode_range(stored, start, stop))

    def put(self, digest: bytes, codec_name: str, stored: memoryview) -> None:
        """Keep stored bytes that need no base. A full disk means that nothing is kept."""
        suffix = RAW if codec_name == RAW else "frame"
        path = self._path(digest, suffix)
        temporary = path.with_name(uuid.uuid4().hex + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(stored)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            return
        self._make_room(len(stored))

    def drop(self, digest: bytes) -> None:
        """Forget a content."""
        for suffix in (RAW, "frame"):
            self._path(digest, suffix).unlink(missing_ok=True)

    def _find(self, digest: bytes) -> Path | None:
        for suffix in ("frame", RAW):
            path = self._path(digest, suffix)
            if path.exists():
                return path
        return None

    def _path(self, digest: bytes, suffix: str) -> Path:
        name = digest.hex()
        return self._root / name[:2] / f"{name}.{suffix}"

    def _make_room(self, added_nbytes: int) -> None:
        with self._lock:
            if self._nbytes is not None:
                self._nbytes += added_nbytes
                if self._nbytes <= self._limit_nbytes:
                    return
            entries = self._entries()
            self._nbytes = sum(nbytes for _, nbytes, _ in entries)
            for _, nbytes, path in sorted(entries):
                if self._nbytes <= self._limit_nbytes:
                    return
                path.unlink(missing_ok=True)
                self._nbytes -= nbytes

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Age, size and path of everything here."""
        entries: list[tuple[float, int, Path]] = []
        for path in self._root.glob("*/*"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        return entries


def _mapped(path: Path) -> mmap.mmap | bytes:
    """The bytes of a file, paged in as they are read."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
