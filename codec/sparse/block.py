"""A block in SPARSE: the base, and where and by how much the target differs from it.

Made for contents of which a small share changed, such as the checkpoints of reinforcement learning:
what is stored, and the work beyond a comparison or a copy, grows with the number of changes. Small
weights change more readily than large ones in a float format, so words are in classes by the
magnitude of the base, and every class counts its own gaps. ``docs/formats/frame.md`` §2.4 has the
format.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.elements.dtypes import Layout
from codec.errors import CorruptFrame
from codec.scratch import SCRATCH
from codec.sparse.tables import loaded_tables

_EQUAL: Final = b"\0"
_CHANGED: Final = b"\1"
_STATES_NWORDS: Final = 4
_CHANGE_NWORDS: Final = 8
"""At most so many words of 16 bits are written for a change."""
_COUNT_NWORDS: Final = 4
_GROUP: Final = 64


def fold_of(layout: Layout) -> np.uint64:
    """What negative floats are XORed with to be in order; nothing for integers."""
    return np.uint64((1 << (8 * layout.width - 1)) - 1 if layout.is_float else 0)


def words_of(data: Bytes, layout: Layout) -> NDArray[Any]:
    """Whole little-endian words; copied only where they are not aligned."""
    words = data.view(f"<u{layout.width}")
    return words if words.flags.aligned else words.copy()


def sizes_of(below: NDArray[Any], limits: NDArray[np.uint64]) -> tuple[NDArray[np.int64], Bytes]:
    """How many words of a base each class has, and those of every group that reach each limit."""
    from codec.sparse import kernels

    sizes = np.zeros(limits.size + 1, np.int64)
    reached = SCRATCH.buffer("reached", limits.size * -(-below.size // _GROUP))
    kernels.class_sizes(below, limits, sizes, reached)
    return sizes, reached


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Gap and number of every change, class by class between ``bounds``, in this thread's scratch.

    ``contexts`` are those of the gaps.
    """

    bounds: NDArray[np.int64]
    gaps: NDArray[np.uint32]
    numbers: NDArray[np.uint64]
    contexts: Bytes

    @classmethod
    def of(
        cls, words: NDArray[Any], below: NDArray[Any], limits: NDArray[np.uint64], fold: np.uint64
    ) -> Self | None:
        """The changes of a block; None if more than half of its words changed."""
        from codec.sparse import kernels, rans

        most = words.size // 2
        counts, reached = sizes_of(below, limits)
        where = words, below, limits, reached, fold
        bounds = np.zeros(counts.size + 1, np.int64)
        room = SCRATCH.buffer("gaps", 4 * most), SCRATCH.buffer("numbers", 8 * most)
        gaps, numbers = room[0].view(np.uint32), room[1].view(np.uint64)
        if limits.size:
            counts[:] = 0
            kernels.collect(*where, counts, gaps[:0], numbers[:0])
            np.cumsum(counts, out=bounds[1:])
        if bounds[-1] <= most:
            ends = bounds[:-1].copy()
            kernels.collect(*where, ends, gaps, numbers)
            bounds[1:] = ends
        total = int(bounds[-1])
        if total > most:
            return None
        contexts = SCRATCH.buffer("contexts", total)
        rans.contexts(gaps, bounds, contexts)
        return cls(bounds, gaps[:total], numbers[:total], contexts)

    @property
    def total(self) -> int:
        """How many words changed."""
        return int(self.bounds[-1])


def pack_sparse(layout: Layout, target: Bytes, base: Bytes, tables: bytes) -> bytes | None:
    """The stored bytes of a block, or None if more than half of it changed.

    ``base`` is as long as ``target``.
    """
    from codec.sparse import rans

    width = layout.width
    whole = target.size - target.size % width
    codes = loaded_tables(tables, width)
    words = words_of(target[:whole], layout), words_of(base[:whole], layout)
    changes = Changes.of(*words, codes.limits, fold_of(layout))
    if changes is None:
        return None
    tail = target[whole:]
    if not changes.total and np.array_equal(tail, base[whole:]):
        return _EQUAL
    classes = codes.limits.size + 1
    capacity = changes.total * _CHANGE_NWORDS + classes * _COUNT_NWORDS + _STATES_NWORDS
    room = SCRATCH.buffer("words", 2 * capacity).view(np.uint16)
    at = rans.encode(
        *(changes.gaps, changes.numbers, changes.contexts, changes.bounds),
        *(codes.tables.rows, codes.tables.frequencies, codes.firsts, 8 * width, room),
    )
    return b"".join([_CHANGED, room[at:].tobytes(), tail.data])


def unpack_sparse(layout: Layout, stored: Bytes, base: Bytes, tables: bytes, out: Bytes) -> None:
    """Write the block to ``out``; CorruptFrame unless ``stored`` is one that fits it."""
    if stored.size == 1 and stored[0] == 0:
        out[:] = base
        return
    width, (count, tail) = layout.width, divmod(out.size, layout.width)
    words_nbytes = stored.size - 1 - tail
    if words_nbytes < 2 * _STATES_NWORDS or words_nbytes % 2 or stored[0] != 1:
        raise CorruptFrame("a sparse block has an impossible length")
    whole = count * width
    below = words_of(base[:whole], layout)
    words = stored[1 : 1 + words_nbytes]
    aligned = out[:whole].view(f"<u{width}")
    restored = aligned if aligned.flags.aligned else np.empty(count, aligned.dtype)
    np.copyto(restored, below)
    _restore(layout, words, below, tables, restored)
    if restored is not aligned:
        out[:whole] = restored.view(np.uint8)
    out[whole:] = stored[stored.size - tail :]


def _restore(
    layout: Layout, stored: Bytes, below: NDArray[Any], tables: bytes, out: NDArray[Any]
) -> None:
    """Change what differs in ``out``, a copy of ``below``."""
    from codec.sparse import kernels, rans

    codes = loaded_tables(tables, layout.width)
    sizes, reached = sizes_of(below, codes.limits)
    bounds = np.zeros(sizes.size + 1, np.int64)
    most = below.size // 2
    ranks = SCRATCH.buffer("gaps", 4 * most).view(np.uint32)
    numbers = SCRATCH.buffer("numbers", 8 * most).view(np.uint64)
    room = SCRATCH.buffer("words", stored.size + 2 * rans.ROOM)
    room[: stored.size] = stored
    fits = rans.decode(
        *(room.view("<u2"), stored.size // 2, sizes, codes.tables.rows, codes.slots),
        *(8 * layout.width, bounds, ranks, numbers),
    )
    if not fits:
        raise CorruptFrame("the changes of a block do not end where its words do")
    kernels.scatter(below, codes.limits, reached, bounds, ranks, numbers, fold_of(layout), out)
