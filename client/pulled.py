"""Where contents lie in files that were pulled before: a base on disk need not be fetched."""

import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from client.cache import RangeReader

MIN_NBYTES = 4 << 10
"""Shorter contents are not worth a row."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS place (
  digest BLOB NOT NULL, path TEXT NOT NULL, start INTEGER NOT NULL,
  nbytes INTEGER NOT NULL, file_nbytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  PRIMARY KEY (digest, path, start)
) WITHOUT ROWID
"""


class PulledFiles:
    """An index by digest, in one SQLite file. Thread-safe; several processes may share it.

    A place counts only while its file is as it was left: same size, same modification time. Whoever
    reads checks digests.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            root / "pulled.sqlite", timeout=30, check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(_SCHEMA)

    def add(self, path: Path, contents: Iterable[tuple[bytes, int, int]]) -> None:
        """Note the contents (digest, start, nbytes) of a file that is complete."""
        stat = path.stat()
        rows = [
            (digest, str(path.absolute()), start, nbytes, stat.st_size, stat.st_mtime_ns)
            for digest, start, nbytes in contents
            if nbytes >= MIN_NBYTES
        ]
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO place VALUES (?,?,?,?,?,?)", rows)
            self._database.execute("COMMIT")

    def has(self, digest: bytes) -> bool:
        """Whether a content lies in a file that is as it was left."""
        return self._find(digest) is not None

    def open(self, digest: bytes, nbytes: int) -> RangeReader | None:
        """A reader of a content's bytes; None if no file holds it (any more)."""
        place = self._find(digest)
        if place is None or place[2] != nbytes:
            return None
        path, first, _ = place
        with suppress(OSError):
            return _FileSlice(path, first).read
        return None

    def forget(self, digest: bytes) -> None:
        """Drop what is known about a content."""
        with self._lock:
            self._database.execute("DELETE FROM place WHERE digest = ?", (digest,))

    def close(self) -> None:
        """Close the index."""
        self._database.close()

    def _find(self, digest: bytes) -> tuple[Path, int, int] | None:
        with self._lock:
            rows = self._database.execute(
                "SELECT path, start, nbytes, file_nbytes, mtime_ns FROM place WHERE digest = ?",
                (digest,),
            ).fetchall()
        for name, start, nbytes, file_nbytes, mtime_ns in rows:
            with suppress(OSError):
                stat = os.stat(name)  # noqa: PTH116  a row is a string
                if (stat.st_size, stat.st_mtime_ns) == (file_nbytes, mtime_ns):
                    return Path(name), start, nbytes
        return None


class _FileSlice:
    """A run of somebody's file, read and not mapped: it may be truncated at any moment."""

    def __init__(self, path: Path, start: int) -> None:
        self._start = start
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._file)

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes ``[start, stop)`` of the run; fewer if the file is shorter now."""
        return memoryview(os.pread(self._file, stop - start, self._start + start))
