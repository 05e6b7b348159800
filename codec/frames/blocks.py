"""One block: its bytes in each method, and back."""

from codec.buffers import Bytes
from codec.context.alphabet import Alphabet
from codec.context.block import pack_context, unpack_context
from codec.elements.dtypes import Layout
from codec.frames.head import IN_CONTEXTS, NEEDS_BASE, Method
from codec.plane.block import pack_planes, unpack_planes
from codec.plane.streams import unpack_zstd
from codec.scratch import SCRATCH
from codec.sparse.block import pack_sparse, unpack_sparse

_GOOD_ENOUGH = 0.5
"""A delta below this share of its raw length is not compared with PLANE: no lone tensor of
ordinary weights gets there, and trying would double the time of every good delta."""

_SPARSE_ENOUGH = 0.25
"""Changes that take no more than this share of a block are not compared with BITX."""


def pack_block(
    codec: Method, layout: Layout, target: Bytes, base: Bytes | None, tables: bytes = b""
) -> tuple[Method, bytes]:
    """The shortest form of a block that ``codec`` allows: its method and stored bytes.

    ``base`` may end early or be empty; deltas read on as if zeros followed. ``tables`` are those
    of the frame; without them CTX and SPARSE are BITX.
    """
    method, packed = Method.RAW, None
    if codec is Method.ZSTD:
        method, packed = Method.ZSTD, SCRATCH.bytewise.compress(target.data)
    elif codec is not Method.RAW:
        if codec in NEEDS_BASE and base is not None and base.size:
            below = padded(base, target.size)
            if codec in IN_CONTEXTS and tables:
                method, packed = codec, pack_context(layout, target, below, tables)
            elif codec is Method.SPARSE and tables:
                method, packed = _pack_changes(layout, target, below, tables)
            else:
                method, packed = Method.BITX, pack_planes(layout, target, below)
        if packed is None or len(packed) > target.size * _GOOD_ENOUGH:
            alone = pack_planes(layout, target)
            if packed is None or len(alone) < len(packed):
                method, packed = Method.PLANE, alone
    if packed is None or len(packed) >= target.size:
        return Method.RAW, target.tobytes()
    return method, packed


def unpack_block(
    method: Method,
    layout: Layout,
    stored: Bytes,
    base: Bytes | None,
    out: Bytes,
    tables: bytes = b"",
) -> None:
    """Write the raw bytes of a block to ``out``; CorruptFrame if ``stored`` cannot be a block."""
    if method is Method.RAW:
        out[:] = stored
    elif method is Method.ZSTD:
        out[:] = unpack_zstd(stored, out.size)
    elif method is Method.PLANE:
        unpack_planes(layout, stored, None, out)
    else:
        assert base is not None
        below = padded(base, out.size)
        if method in IN_CONTEXTS:
            alphabet = Alphabet(layout.in_contexts.width, method is Method.CTX16)
            unpack_context(layout, alphabet, stored, below, tables, out)
        elif method is Method.SPARSE:
            unpack_sparse(layout, stored, below, tables, out)
        else:
            unpack_planes(layout, stored, below, out)


def _pack_changes(
    layout: Layout, target: Bytes, base: Bytes, tables: bytes
) -> tuple[Method, bytes]:
    """SPARSE, or BITX where so much changed that this is shorter."""
    packed = pack_sparse(layout, target, base, tables)
    if packed is not None and len(packed) <= target.size * _SPARSE_ENOUGH:
        return Method.SPARSE, packed
    xored = pack_planes(layout, target, base)
    if packed is not None and len(packed) <= len(xored):
        return Method.SPARSE, packed
    return Method.BITX, xored


def padded(base: Bytes, nbytes: int) -> Bytes:
    """The base of a block, followed by zeros where it is shorter than the block."""
    if base.size == nbytes:
        return base
    whole = SCRATCH.buffer("base", nbytes)
    whole[: base.size] = base
    whole[base.size :] = 0
    return whole
