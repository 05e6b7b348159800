"""One content to the bytes it is stored as: a frame, or itself where a frame saves too little."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from app.contents.reading import RAW, read_content
from app.contents.refs import EncodingRef
from app.hub import Hub

if TYPE_CHECKING:
    import codec

ENCODER = 3
"""Generation of what is written here: one more whenever something would be written smaller than
before. What an older generation decided on is then coded again (``app.deltas.reencode``)."""

STREAMED_NBYTES = 32 << 20
"""Contents beyond this are never whole in memory."""

MIN_GAIN = 0.03
"""Share that a frame must save: raw bytes are cheaper to read than a frame."""

WINDOW_BLOCKS = 8
"""Blocks read per request while streaming."""

GLANCE_NBYTES = 64 << 10
"""What is looked at, in three places, to see of which precision a content really is."""


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
    base_dtype: str | None = None,
    columns: int = 0,
) -> Coded:
    """Code a content in memory, against a base if given; the base is dropped if it does not pay.

    ``base_dtype`` is that of the content if not given, or one that is cast to it; ``columns`` those
    of a matrix. Without ``dtype`` it is no tensor: text and the like, for which only zstd is tried.
    """
    import codec

    if len(data) == 0:
        return Coded(RAW, None, b"", 0)
    if dtype is None:
        frame = codec.encode(data, dtype="U8", codec="ZSTD")
    else:
        frame = codec.encode(data, dtype=dtype, base=base, base_dtype=base_dtype, columns=columns)
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
    base_dtype: str | None = None,
    columns: int = 0,
) -> Coded:
    """Code a content block by block into a file; memory is some blocks whatever its size.

    Arguments as for :func:`code_whole`. ``check`` is called now and then and may raise to stop.
    Raises Damaged or StoreUnavailable.
    """
    import codec

    name = dtype or "U8"
    below = None if base is None else base_dtype or name
    words = codec.Words.named(name, _narrow_dtype(hub, ref, name), below)
    matrix = None if dtype is None else columns
    with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
        try:
            used = _stream(hub, ref, words, base, file, check, matrix)
        except codec.NotNarrow:
            words = codec.Words.named(name, None, below)
            file.truncate(0)
            used = _stream(hub, ref, words, base, file, check, matrix)
        nbytes = file.seek(0, SEEK_END)
        path = Path(file.name)
    if _pays(nbytes, ref.nbytes):
        return Coded(used, None if base is None else base.content_id, path, nbytes)
    with path.open("wb") as raw:
        _copy(hub, ref, raw, check)
    return Coded(RAW, None, path, ref.nbytes)


def _stream(
    hub: Hub,
    ref: EncodingRef,
    words: "codec.Words",
    base: EncodingRef | None,
    file: IO[bytes],
    check: Callable[[], None],
    columns: int | None,
) -> str:
    """Write the frame of a content; its codec. Raises NotNarrow if its words are not.

    ``columns`` are None for what is no tensor.
    """
    import codec

    factors = None
    if base is None:
        name, tables = _alone_codec(hub, ref, words, is_tensor=columns is not None), b""
    else:
        name, tables, factors = _delta_codec(hub, ref, base, words, check, columns or 0)
    encoder = codec.FrameEncoder(
        dtype=words.content.name,
        raw_nbytes=ref.nbytes,
        codec=name,
        base_nbytes=None if base is None else base.nbytes,
        base_dtype=None if words.base is None else words.base.name,
        narrow=words.coded.name if words.is_narrow else None,
        tables=tables,
        factors=factors,
    )
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
    file.seek(0)
    file.write(encoder.finish())
    return name


def _narrow_dtype(hub: Hub, ref: EncodingRef, dtype: str) -> str | None:
    """What the words of a content seem to be, by samples of it; None for what they are called."""
    import codec

    if ref.nbytes % 4 or ref.nbytes < GLANCE_NBYTES:
        return None
    last = (ref.nbytes - GLANCE_NBYTES) // GLANCE_NBYTES * GLANCE_NBYTES
    starts = (0, last // 2 // GLANCE_NBYTES * GLANCE_NBYTES, last)
    parts = (read_content(hub, ref, start, start + GLANCE_NBYTES) for start in starts)
    return codec.narrow_dtype(b"".join(parts), dtype=dtype)


def _alone_codec(hub: Hub, ref: EncodingRef, words: "codec.Words", *, is_tensor: bool) -> str:
    """The codec that its first block suggests."""
    import codec

    if not is_tensor:
        return "ZSTD"
    block = read_content(hub, ref, 0, min(ref.nbytes, codec.BLOCK_NBYTES))
    return codec.predict(block, dtype=words.content.name).codec


def _delta_codec(
    hub: Hub,
    ref: EncodingRef,
    base: EncodingRef,
    words: "codec.Words",
    check: Callable[[], None],
    columns: int,
) -> tuple[str, bytes, "codec.Factors | None"]:
    """The codec that samples of content and base suggest, its code tables, and what moves the base.

    Of a matrix that a product of low rank may tell, all is read, twice.
    """
    import codec

    def read(of: EncodingRef, start: int, stop: int) -> memoryview:
        check()
        return read_content(hub, of, start, stop)

    target, below = partial(read, ref), partial(read, base)
    raw_nbytes, base_nbytes = ref.nbytes, base.nbytes
    factors = codec.choose_factors(
        target,
        below,
        words=words,
        columns=columns,
        raw_nbytes=raw_nbytes,
        base_nbytes=base_nbytes,
    )
    if factors is not None:
        moved = codec.MovedBase(below, base_nbytes, words, factors)
        below, words, base_nbytes = moved.read, moved.words, moved.nbytes
    name, tables = codec.choose_delta(
        target,
        below,
        words=words,
        raw_nbytes=raw_nbytes,
        base_nbytes=base_nbytes,
        quickly=factors is not None,
    )
    return name, tables, factors


def _copy(hub: Hub, ref: EncodingRef, raw: BinaryIO, check: Callable[[], None]) -> None:
    window = WINDOW_BLOCKS << 20
    for start in range(0, ref.nbytes, window):
        check()
        raw.write(read_content(hub, ref, start, min(start + window, ref.nbytes)))


def _pays(frame_nbytes: int, raw_nbytes: int) -> bool:
    return frame_nbytes <= raw_nbytes * (1 - MIN_GAIN)
