"""Disk writes that begin while bytes still arrive, so that the final fsync finds little to do.

Without it the kernel collects a gigabyte or more before it writes anything, and whoever waits for
durability waits for all of it at the end. See sync_file_range(2); Linux only, a hint elsewhere.
"""

import ctypes
from collections.abc import Callable

STEP_NBYTES = 8 << 20

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write dirty pages, do not wait


class Writeback:
    """Follows one file that is written from its start on. Errors are left to fsync."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._begun = 0
        self._end = 0

    def wrote(self, nbytes: int) -> None:
        """Note that so many bytes were appended."""
        self._end += nbytes
        if self._end - self._begun >= STEP_NBYTES and _sync_file_range is not None:
            _sync_file_range(self._file, self._begun, self._end - self._begun, _WRITE)
            self._begun = self._end


def _find() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range = _find()
