"""Memory with a forbidden page right behind it: who reads or writes beyond the end is killed."""

import ctypes
import mmap

import numpy as np

from codec.scratch import Scratch

_PROT_NONE = 0
_ALIGNMENT = 8
_libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """A run of bytes that ends at the end of its last page; grows, never shrinks."""

    def __init__(self, nbytes: int = 1) -> None:
        pages = -(-max(1, nbytes) // mmap.PAGESIZE)
        self._memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self.room = pages * mmap.PAGESIZE
        guard = ctypes.c_void_p(self._bytes.ctypes.data + self.room)
        if _libc.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def end(self, nbytes: int) -> np.ndarray:
        """The last ``nbytes`` before the forbidden page."""
        return self._bytes[self.room - nbytes : self.room]

    def holding(self, content: bytes | np.ndarray) -> np.ndarray:
        """A copy of some bytes at the very end."""
        place = self.end(len(content))
        place[:] = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
        return place


class Shelf:
    """Guarded memory by purpose."""

    def __init__(self) -> None:
        self._held: dict[str, Guarded] = {}

    def room(self, purpose: str, nbytes: int) -> Guarded:
        held = self._held.get(purpose)
        if held is None or held.room < nbytes:
            held = self._held[purpose] = Guarded(nbytes)
        return held


def guard_scratch() -> None:
    """Let the codec's own working memory in this process end at forbidden pages too.

    Up to seven bytes before them, so that words stay aligned.
    """
    shelf = Shelf()

    def buffer(_self: Scratch, purpose: str, nbytes: int) -> np.ndarray:
        rounded = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        return shelf.room(purpose, rounded).end(rounded)[:nbytes]

    Scratch.buffer = buffer
