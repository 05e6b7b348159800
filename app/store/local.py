"""Objects as files below one directory, durable when put returns.

A put writes to a temporary file in the same file system, fsyncs it, renames it to its place and
fsyncs the directories that changed. The writer holds a lock on the temporary file, which the kernel
drops when the process dies: so opening the store can remove what a killed writer left behind, with
no clock and without touching a file that another process is writing.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.store.contract import (
    ObjectMissing,
    ObjectStat,
    ObjectStore,
    StoreFull,
    StoreUnavailable,
)
from app.store.keys import check_key
from app.store.writeback import Writeback

TEMPORARY = ".incoming"
"""Directory of files being written; no key can name it."""


class LocalStore(ObjectStore):
    """A directory. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / TEMPORARY
        self._temporary.mkdir(parents=True, exist_ok=True)
        _fsync_directory(root.parent)
        self._durable = {root}
        _remove_abandoned(self._temporary)

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Write, fsync, rename, fsync the directory."""
        final = self._path(key)
        with self._incoming() as (file, temporary):
            nbytes = 0
            writeback = Writeback(file)
            for chunk in chunks:
                written = _write_all(file, chunk)
                writeback.wrote(written)
                nbytes += written
            self._settle(file, temporary, final)
        return nbytes

    def put_file(self, key: str, path: Path) -> int:
        """Move the file in if it lies on the same file system, copy it otherwise."""
        final = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                nbytes = os.fstat(file).st_size
                self._settle(file, path, final)
            finally:
                os.close(file)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EXDEV:
                nbytes = self.put(key, _chunks_of(path))
                path.unlink()
                return nbytes
            raise
        return nbytes

    def read(self, key: str, start: int, stop: int) -> bytes:
        """One pread, or a few for a range that the kernel cuts."""
        with self._opened(key) as file:
            parts: list[bytes] = []
            while start < stop:
                part = os.pread(file, stop - start, start)
                if not part:
                    nbytes = os.fstat(file).st_size
                    raise StoreUnavailable(f"{key} has {nbytes} bytes, asked for up to {stop}")
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def stat(self, key: str) -> ObjectStat | None:
        """Size by the directory entry."""
        try:
            with _store_errors(key):
                return ObjectStat(key, self._path(key).stat().st_size)
        except ObjectMissing:
            return None

    def delete(self, key: str) -> None:
        """Unlink; the entry is gone for good when this returns."""
        path = self._path(key)
        with suppress(ObjectMissing), _store_errors(key):
            path.unlink()
            _fsync_directory(path.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Walk the directories that can hold the prefix, each in key order."""
        with _store_errors(prefix):
            yield from self._walk(self._root, "", prefix)

    def _walk(self, directory: Path, base: str, prefix: str) -> Iterator[ObjectStat]:
        with suppress(FileNotFoundError):
            entries = [(e, e.is_dir(follow_symlinks=False)) for e in os.scandir(directory)]
            # A directory sorts as its keys do: "a-b" comes before "a/c" because "-" < "/".
            for entry, is_directory in sorted(entries, key=lambda e: e[0].name + "/" * e[1]):
                key = base + entry.name + "/" * is_directory
                if is_directory and entry.name != TEMPORARY:
                    if key.startswith(prefix) or prefix.startswith(key):
                        yield from self._walk(Path(entry.path), key, prefix)
                elif not is_directory and key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        yield ObjectStat(key, entry.stat().st_size)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        with _store_errors(key):
            file = os.open(self._path(key), os.O_RDONLY)
            try:
                yield file
            finally:
                os.close(file)

    @contextmanager
    def _incoming(self) -> Iterator[tuple[int, Path]]:
        """A locked temporary file, removed afterwards unless it was renamed."""
        file, path = self._create_locked()
        try:
            yield file, path
        finally:
            with suppress(FileNotFoundError):
                path.unlink()
            os.close(file)

    def _create_locked(self) -> tuple[int, Path]:
        while True:
            path = self._temporary / uuid.uuid4().hex
            with _store_errors(path.name):
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file, path
            os.close(file)  # a store opened just now took it for abandoned

    def _settle(self, file: int, source: Path, final: Path) -> None:
        with _store_errors(final.name):
            os.fsync(file)
            self._make_directories(final.parent)
            source.rename(final)
            _fsync_directory(final.parent)

    def _make_directories(self, directory: Path) -> None:
        """Create missing directories, each one durable in its parent before it is used.

        That a directory is there does not say so: another writer may have made it just now.
        """
        if directory in self._durable:
            return
        self._make_directories(directory.parent)
        directory.mkdir(exist_ok=True)
        _fsync_directory(directory.parent)
        self._durable.add(directory)


def _remove_abandoned(directory: Path) -> None:
    for path in directory.iterdir():
        with suppress(FileNotFoundError, BlockingIOError):
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(file: int, chunk: bytes | memoryview) -> int:
    view = memoryview(chunk).cast("B")
    nbytes = len(view)
    with _store_errors("a new object"):
        while len(view):
            view = view[os.write(file, view) :]
    return nbytes


def _chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk


@contextmanager
def _store_errors(key: str) -> Iterator[None]:
    """Turn the operating system's errors into the contract's."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"no object {key}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("no space left for objects") from error
        raise StoreUnavailable(f"{key}: {error.strerror or error}") from error
