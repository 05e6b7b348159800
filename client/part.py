"""A file being put together: its bytes in place, and a journal of the segments that are done.

Killed at any moment, the next run finds both, checks the noted segments against their digests (much
faster than fetching them) and goes on with the rest.
"""

import errno
import mmap
import os
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from blake3 import blake3

from client.errors import TargetRefused
from client.plan import PlannedSegment, RestorePlan

_ENTRY = struct.Struct("<I")


class PartFile:
    """The growing file: written by calls, read through a mapping. Thread-safe.

    Pages of a file are dirtied at a fraction of the cost by a call, whole blocks at a time.
    """

    def __init__(self, directory: Path, plan: RestorePlan) -> None:
        self.path = directory / f"{plan.sha256.hex()}.part"
        self._journal_path = directory / f"{plan.sha256.hex()}.journal"
        self._plan = plan
        self._lock = threading.Lock()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._mapped: mmap.mmap | None = None
        self.bytes = memoryview(b"")
        try:
            self._mapped = _reserve(self._file, plan.nbytes)
        except OSError as error:
            self.close()
            raise TargetRefused(f"{directory}: {error.strerror}") from error
        if self._mapped is not None:
            self.bytes = memoryview(self._mapped)
        self.done = self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def write(self, start: int, data: memoryview) -> None:
        """Put bytes in place. Raises TargetRefused if the disk does not take them."""
        try:
            while len(data):
                written = os.pwrite(self._file, data, start)
                start, data = start + written, data[written:]
        except OSError as error:
            raise TargetRefused(f"{self.path}: {error.strerror}") from error

    def view(self, segment: PlannedSegment) -> memoryview:
        """A segment's bytes as they are now."""
        return self.bytes[segment.start : segment.start + segment.nbytes]

    def finish(self, numbers: Sequence[int]) -> None:
        """Note segments whose bytes are in place and checked."""
        with self._lock:
            os.write(self._journal, b"".join(map(_ENTRY.pack, numbers)))
            self.done.update(numbers)

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._file)

    def promote(self, target: Path) -> None:
        """Give the complete file its name, durably, and forget the journal."""
        self.sync()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self._journal_path.unlink()

    def discard(self) -> None:
        """Remove file and journal: their bytes are wrong."""
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release file and memory; what is done stays on disk."""
        with suppress(BufferError):  # the traceback of a failed task may hold a view
            self.bytes.release()
            if self._mapped is not None:
                self._mapped.close()
        os.close(self._file)
        os.close(self._journal)

    def _recover(self) -> set[int]:
        """Noted segments whose bytes are really there."""
        noted = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        whole = noted[: len(noted) - len(noted) % _ENTRY.size]
        if len(whole) != len(noted):
            os.ftruncate(self._journal, len(whole))
        numbers = {number for (number,) in _ENTRY.iter_unpack(whole)}
        return {number for number in numbers if self._is_intact(number)}

    def _is_intact(self, number: int) -> bool:
        if number >= len(self._plan.segments):
            return False
        segment = self._plan.segments[number]
        digest = self._plan.contents[segment.content].digest
        return blake3(self.view(segment)).digest() == digest


def _reserve(file: int, nbytes: int) -> mmap.mmap | None:
    """Map a file of exactly ``nbytes`` whose disk space is taken: writing to it cannot fail."""
    if os.fstat(file).st_size > nbytes:
        os.ftruncate(file, nbytes)
    if nbytes == 0:
        return None
    try:
        os.posix_fallocate(file, 0, nbytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
            raise
        os.ftruncate(file, nbytes)
    return mmap.mmap(file, nbytes, access=mmap.ACCESS_READ)
