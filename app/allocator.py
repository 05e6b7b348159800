"""The C allocator, told to keep what was freed for the next buffer instead of giving it back.

A transfer allocates and frees a buffer per MiB. By default glibc takes each such buffer from the
kernel and returns it at once, and clearing its pages anew costs more than everything else that is
done with the bytes. See mallopt(3).
"""

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

HEAP_BUFFER_NBYTES = 32 << 20
"""Buffers up to this size come from the heap; glibc allows no more."""

KEPT_NBYTES = 128 << 20
"""Freed memory that a heap keeps."""


def keep_freed_memory() -> bool:
    """Set the allocator of this process; False where there is no glibc, and nothing changes."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(M_MMAP_THRESHOLD, HEAP_BUFFER_NBYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_NBYTES)
    )
