"""Words of one float type as those of another: bases of another dtype, contents that are too wide.

A cast goes up to F32, which is exact, and down to nearest even; ``docs/formats/frame.md`` §2.4 has
every bit of it.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Buffer, Bytes, byte_view
from codec.elements.dtypes import DType, dtype_of, layout_of
from codec.elements.words import NARROW, Words
from codec.errors import NotNarrow
from codec.scratch import SCRATCH

_GLANCE_NBYTES: Final = 1 << 12
_PIECE_NBYTES: Final = 1 << 18
_WORD: Final = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}


def narrowed(words: Words, target: Bytes) -> Bytes:
    """The words coded for some bytes of a content, in scratch unless they are the same.

    NotNarrow if the content is not as narrow as was said.
    """
    if not words.is_narrow:
        return target
    found = narrow(target, words.coded)
    if found is None:
        raise NotNarrow(f"the content does not consist of {words.coded.name} words")
    return found


def cast_base(words: Words, base: Bytes) -> Bytes:
    """Bytes of a base as words like those coded, in scratch unless they are."""
    if words.base is None or words.base is words.coded:
        return base
    return cast(base, words.base, words.coded)


def cast(data: Bytes, source: DType, target: DType, out: Bytes | None = None) -> Bytes:
    """The whole words of ``data`` in another dtype, in ``out`` or this thread's scratch."""
    from codec.elements import cast_kernels

    words = words_in(data, source)
    nbytes = words.size * layout_of(target).width
    room = SCRATCH.buffer("cast", nbytes) if out is None else out
    aligned = room.view(_WORD[layout_of(target).width])
    if not aligned.flags.aligned:
        room[:] = cast(data, source, target)
        return room
    if source is target:
        room[:] = words.view(np.uint8)
    elif target is DType.F32 and source is DType.BF16:
        cast_kernels.single_of_brain(words, aligned)
    elif target is DType.F32:
        cast_kernels.single_of_half(words, aligned)
    elif source is DType.F32 and target is DType.BF16:
        cast_kernels.brain_of_single(words, aligned)
    elif source is DType.F32:
        cast_kernels.half_of_single(words, aligned)
    elif target is DType.BF16:
        cast_kernels.brain_of_half(words, aligned)
    else:
        cast_kernels.half_of_brain(words, aligned)
    return room


def narrow(data: Bytes, dtype: DType) -> Bytes | None:
    """The words of ``dtype`` that are these words of F32 when cast up, in scratch; None if none."""
    from codec.elements import cast_kernels

    words = words_in(data, DType.F32)
    room = SCRATCH.buffer("narrow", words.size * 2)
    kernel = cast_kernels.narrow_to_brain
    if dtype is DType.F16:
        kernel = cast_kernels.narrow_to_half
    return room if kernel(words, room.view(_WORD[2])) else None


def narrow_dtype(target: Buffer, *, dtype: str) -> str | None:
    """The dtype whose words, cast up, all words of a content are; None if there is none.

    Only contents of F32 can be narrow, of one word or more and no bytes left over.
    """
    data = byte_view(target)
    if dtype_of(dtype) is not DType.F32 or not data.size or data.size % 4:
        return None
    for candidate in NARROW:
        if narrow(data[:_GLANCE_NBYTES], candidate) is None:
            continue
        pieces = (data[at : at + _PIECE_NBYTES] for at in range(0, data.size, _PIECE_NBYTES))
        if all(narrow(piece, candidate) is not None for piece in pieces):
            return candidate.name
    return None


def spread(data: Bytes, purpose: str) -> Bytes:
    """Words of eight bits in sixteen, as CTX takes them; in scratch named for ``purpose``."""
    from codec.elements import cast_kernels

    room = SCRATCH.buffer(f"spread {purpose}", 2 * data.size)
    cast_kernels.spread(data, room.view(_WORD[2]))
    return room


def close_up(words: Bytes, out: Bytes) -> None:
    """Undo :func:`spread`."""
    from codec.elements import cast_kernels

    cast_kernels.close_up(words.view(_WORD[2]), out)


def words_in(data: Bytes, dtype: DType) -> NDArray[Any]:
    """Whole words; copied only where they are not aligned."""
    width = layout_of(dtype).width
    words = data[: data.size - data.size % width].view(_WORD[width])
    return words if words.flags.aligned else words.copy()
