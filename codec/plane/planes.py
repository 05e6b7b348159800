"""Words to byte planes and back, alone or as XOR with a base, for every word width."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.elements.dtypes import Layout
from codec.scratch import SCRATCH

_WORD = {2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}


def split(target: Bytes, layout: Layout, base: Bytes | None = None) -> list[Bytes]:
    """The planes of whole words, most significant first; of their XOR with ``base`` if given.

    Planes live in this thread's scratch until the next call, or are ``target`` itself.
    """
    from codec.plane import split_kernels

    width, count = layout.width, target.size // layout.width
    if base is not None and width in (1, 8):
        target = np.bitwise_xor(target, base, out=SCRATCH.buffer("xor", target.size))
        base = None
    if width == 1:
        return [target]
    memory = SCRATCH.buffer("planes", target.size)
    planes = [memory[k * count : (k + 1) * count] for k in range(width)]
    words = _words(target, width)
    if base is not None:
        split_kernels.SPLIT_XOR[width](words, _words(base, width), memory)
    else:
        (split_kernels.SPLIT_FIELDS if layout.fields else split_kernels.SPLIT)[width](words, memory)
    return planes


def merge(planes: Sequence[Bytes], layout: Layout, out: Bytes, base: Bytes | None = None) -> None:
    """Write the words of ``planes`` to ``out``; the inverse of :func:`split`."""
    from codec.plane import split_kernels

    width = layout.width
    if width == 1:
        if base is None:
            out[:] = planes[0]
        else:
            np.bitwise_xor(planes[0], base, out=out)
        return
    aligned = out.view(_WORD[width])
    if not aligned.flags.aligned:
        whole = SCRATCH.buffer("merge", out.size)
        merge(planes, layout, whole, base)
        out[:] = whole
    elif base is not None and width == 8:
        split_kernels.MERGE[width](*planes, aligned)
        np.bitwise_xor(out, base, out=out)
    elif base is not None:
        split_kernels.MERGE_XOR[width](*planes, _words(base, width), aligned)
    else:
        (split_kernels.MERGE_FIELDS if layout.fields else split_kernels.MERGE)[width](
            *planes, aligned
        )


def _words(data: Bytes, width: int) -> NDArray[np.unsignedinteger]:
    """The little-endian words of ``data``, copied only where they are not aligned."""
    words = data.view(_WORD[width])
    return words if words.flags.aligned else words.copy()
