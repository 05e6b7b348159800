"""A block in planes: the words of a content, or their XOR with a base, byte by byte.

``docs/formats/frame.md`` §2.2 has the format.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from codec.buffers import Bytes
from codec.elements.dtypes import Layout
from codec.errors import CorruptFrame
from codec.plane import planes
from codec.plane.rans import merge_rans
from codec.plane.streams import STREAM_HEADER, Coding, pack_plane, pack_stream, unpack_stream


def pack_planes(layout: Layout, target: Bytes, base: Bytes | None = None) -> bytes:
    """Stream headers, streams, then the bytes after the last whole word, which stay raw."""
    whole = target.size - target.size % layout.width
    words = planes.split(target[:whole], layout, None if base is None else base[:whole])
    pack = pack_plane if base is None else pack_stream
    streams = [pack(plane) for plane in words]
    headers = [STREAM_HEADER.pack(coding, len(packed)) for coding, packed in streams]
    return b"".join([*headers, *(packed for _, packed in streams), target[whole:].data])


def unpack_planes(layout: Layout, stored: Bytes, base: Bytes | None, out: Bytes) -> None:
    """Write the block to ``out``; CorruptFrame unless ``stored`` is one and its streams fit."""
    count, tail = divmod(out.size, layout.width)
    codings, cuts = _stream_cuts(layout.width, stored)
    if stored.size - cuts[-1] != tail:
        raise CorruptFrame("the streams of a block do not fill it")
    whole = out.size - tail
    fused = base is None and layout.fields and codings[0] == Coding.RANS
    words = [
        unpack_stream(coding, stored[start:stop], count, f"plane{k}")
        for k, (coding, (start, stop)) in enumerate(zip(codings, pairwise(cuts), strict=True))
        if k or not fused
    ]
    if fused:
        merge_rans(stored, cuts[0], cuts[1], words, layout, out[:whole])
    else:
        planes.merge(words, layout, out[:whole], None if base is None else base[:whole])
    out[whole:] = stored[stored.size - tail :]


def _stream_cuts(count: int, stored: Bytes) -> tuple[Sequence[int], Sequence[int]]:
    """Codings of the streams, and where each begins and the last ends, within ``stored``."""
    headers_nbytes = count * STREAM_HEADER.size
    if stored.size < headers_nbytes:
        raise CorruptFrame("a block is shorter than its stream headers")
    headers = list(STREAM_HEADER.iter_unpack(stored[:headers_nbytes].tobytes()))
    cuts = list(accumulate((length for _, length in headers), initial=headers_nbytes))
    if cuts[-1] > stored.size:
        raise CorruptFrame("a block is shorter than its streams")
    return [coding for coding, _ in headers], cuts
