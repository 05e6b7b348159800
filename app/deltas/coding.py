"""One content to the bytes it is stored as: a frame, or itself where a frame saves too little."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.contents.reading import RAW, read_content
from app.contents.refs import EncodingRef
from app.hub import Hub

STREAMED_NBYTES = 32 << 20
"""Contents beyond this are never whole in memory."""

MIN_GAIN = 0.03
"""Share that a frame must save: raw bytes are cheaper to read than a frame."""

WINDOW_BLOCKS = 8
"""Blocks read per request while streaming."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What a content is to be stored as."""

    codec: str
    base_id: int | None
    body: bytes | Path
    nbytes: int
    """Stored bytes."""


def code_whole(
    data: memoryview,
    dtype: str | None,
    base: memoryview | None = None,
    base_id: int | None = None,
) -> Coded:
    """Code a content in memory, against a base if given; the base is dropped if it does not pay.

    Without ``dtype`` it is no tensor: text and the like, for which only zstd is tried.
    """
    import codec

    if len(data) == 0:
        return Coded(RAW, None, b"", 0)
    if dtype is None:
        frame = codec.encode(data, dtype="U8", codec="ZSTD")
    else:
        frame = codec.encode(data, dtype=dtype, base=base)
    if not _pays(len(frame), len(data)):
        return Coded(RAW, None, bytes(data), len(data))
    info = codec.inspect(frame)
    used = base_id if info.base_nbytes is not None else None
    return Coded(info.codec, used, frame, len(frame))


def code_streaming(
    hub: Hub,
    ref: EncodingRef,
    dtype: str | None,
    base: EncodingRef | None,
    directory: Path,
    check: Callable[[], None],
) -> Coded:
    """Code a content block by block into a file; memory is some blocks whatever its size.

    Arguments as for :func:`code_whole`. ``check`` is called now and then and may raise to stop.
    Raises Damaged or StoreUnavailable.
    """
    import codec

    tables = b"" if base is None else _tables(hub, ref, base, dtype or "U8")
    name = ("CTX" if tables else "BITX") if base is not None else _alone_codec(hub, ref, dtype)
    encoder = codec.FrameEncoder(
        dtype=dtype or "U8",
        raw_nbytes=ref.nbytes,
        codec=name,
        base_nbytes=None if base is None else base.nbytes,
        tables=tables,
    )
    with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
        file.seek(encoder.head_nbytes)
        for first in range(0, encoder.block_count, WINDOW_BLOCKS):
            check()
            last = min(first + WINDOW_BLOCKS, encoder.block_count)
            start, stop = encoder.raw_range(first)[0], encoder.raw_range(last - 1)[1]
            data = read_content(hub, ref, start, stop)
            lower, upper = encoder.base_range(first)[0], encoder.base_range(last - 1)[1]
            below = memoryview(b"")
            if base is not None and lower < upper:
                below = read_content(hub, base, lower, upper)
            for index in range(first, last):
                begin, end = (at - start for at in encoder.raw_range(index))
                low, high = (at - lower for at in encoder.base_range(index))
                part = below[low:high] if base is not None else None
                file.write(encoder.encode_block(index, data[begin:end], part))
        nbytes = file.tell()
        file.seek(0)
        file.write(encoder.finish())
        path = Path(file.name)
    if _pays(nbytes, ref.nbytes):
        return Coded(name, None if base is None else base.content_id, path, nbytes)
    with path.open("wb") as raw:
        _copy(hub, ref, raw, check)
    return Coded(RAW, None, path, ref.nbytes)


def _alone_codec(hub: Hub, ref: EncodingRef, dtype: str | None) -> str:
    """The codec that its first block suggests."""
    import codec

    if dtype is None:
        return "ZSTD"
    return codec.predict(
        read_content(hub, ref, 0, min(ref.nbytes, codec.BLOCK_NBYTES)), dtype=dtype
    ).codec


def _tables(hub: Hub, ref: EncodingRef, base: EncodingRef, dtype: str) -> bytes:
    """Code tables from samples of content and base; empty if the dtype has no use for any."""
    import codec

    if not codec.is_contextual(dtype):
        return b""
    common = min(ref.nbytes, base.nbytes)
    pairs = (
        (read_content(hub, ref, start, stop), read_content(hub, base, start, stop))
        for start, stop in codec.training_ranges(common, dtype=dtype)
    )
    return codec.train(pairs, dtype=dtype, raw_nbytes=common)


def _copy(hub: Hub, ref: EncodingRef, raw: BinaryIO, check: Callable[[], None]) -> None:
    window = WINDOW_BLOCKS << 20
    for start in range(0, ref.nbytes, window):
        check()
        raw.write(read_content(hub, ref, start, min(start + window, ref.nbytes)))


def _pays(frame_nbytes: int, raw_nbytes: int) -> bool:
    return frame_nbytes <= raw_nbytes * (1 - MIN_GAIN)
