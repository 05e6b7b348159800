"""Memory in pages of megabytes: its first touch costs a fifth of what it does in pages of 4 KiB."""

import ctypes
import mmap
from typing import Final

from codec.buffers import Bytes

WORTHWHILE_NBYTES: Final = 4 << 20
"""Below this the system is not asked: two whole pages fit into it at any address."""

_HUGE: Final = 2 << 20
_ADVICE: Final = getattr(mmap, "MADV_HUGEPAGE", None)


def ask_for_huge_pages(memory: Bytes) -> None:
    """Advise the system (madvise(2), MADV_HUGEPAGE), which may ignore it.

    NumPy does so for its own arrays. For memory that nobody has touched yet.
    """
    if _ADVICE is None or memory.size < WORTHWHILE_NBYTES:
        return
    start = -(-memory.ctypes.data // _HUGE) * _HUGE
    stop = (memory.ctypes.data + memory.size) // _HUGE * _HUGE
    _madvise()(start, stop - start, _ADVICE)


def _madvise() -> "ctypes._NamedFuncPointer":
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
