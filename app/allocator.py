"""Memory of a process that serves: the C allocator and the garbage collector, told how it lives.

The C allocator shall keep what was freed for the next buffer instead of giving it back.

A transfer allocates and frees a buffer per MiB. By default glibc takes each such buffer from the
kernel and returns it at once, and clearing its pages anew costs more than everything else that is
done with the bytes. By default, too, every thread keeps to an arena of its own, so that what one
has freed is of no use to the others, and the peak of the process is the sum of the peaks of its
threads. See mallopt(3).
"""

import ctypes
import gc
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

HEAP_BUFFER_NBYTES = 32 << 20
"""Buffers up to this size come from the heap; glibc allows no more."""

KEPT_NBYTES = 128 << 20
"""Freed memory that the heap keeps."""

ARENAS = 1
"""One heap for all threads: they ask for few, large buffers and hardly ever meet at its lock."""


def keep_freed_memory() -> bool:
    """Set the allocator of this process; False where there is no glibc, and nothing changes.

    For processes that move large buffers, before they start their threads.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(M_ARENA_MAX, ARENAS)
        and mallopt(M_MMAP_THRESHOLD, HEAP_BUFFER_NBYTES)
        and mallopt(M_TRIM_THRESHOLD, KEPT_NBYTES)
    )


def spare_what_is_loaded() -> None:
    """Let the garbage collector pass over all objects that are there now, as they stay.

    A full collection looks at every object while all threads wait: at two hundred thousand of
    modules, routes and tables that takes .13 s, some request or other of a hundred.
    """
    gc.collect()
    gc.freeze()
