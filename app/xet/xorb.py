"""The xorb format: chunks, each compressed on its own behind an 8-byte header.

Source: hub-docs ``docs/xet/xorb.md``. A header is version (0), stored length (u24 LE), scheme, raw
length (u24 LE); schemes are 0 as it is, 1 LZ4 frame, 2 bytes grouped by their position modulo four
and then LZ4. Bounds are those that xet-core enforces: a chunk is 128 KiB raw at most and at most
twice that stored. Everything here reads hostile input: no length is believed before it is checked
and no decoder may write more than the header declared. What is kept of a xorb are its raw chunks,
joined: each is decoded when it arrives, and never again.
"""

from collections.abc import Generator, Iterable, Iterator

import lz4.frame
import numpy as np
from numpy.typing import NDArray

from app.errors import IntegrityError, LimitExceeded
from app.settings import Limits
from app.xet.hashing import DigestTree, chunk_digest

HEADER_NBYTES = 8
CHUNK_RAW_NBYTES = 128 << 10
CHUNK_STORED_NBYTES = 2 * CHUNK_RAW_NBYTES

AS_IS, LZ4, GROUPED_LZ4 = 0, 1, 2

FOOTER_IDENT = b"XETBLOB"
"""Older clients append a footer that repeats what the chunks say; it begins with this."""

TABLE = np.dtype([("digest", "u1", (32,)), ("offset", "<u4"), ("nbytes", "<u4")])
"""Row of a chunk table: digest, offset among the raw bytes of the xorb, raw length."""

RUN_NBYTES = 1 << 20
"""Raw chunks are passed on in runs of about this size."""


class XorbInvalid(IntegrityError):
    """The bytes are no xorb, or not the one whose digest was announced."""


def parse_header(header: bytes | bytearray | memoryview) -> tuple[int, int, int]:
    """(stored length, scheme, raw length) of a chunk header. Raises :class:`XorbInvalid`."""
    stored = int.from_bytes(header[1:4], "little")
    scheme = header[4]
    raw = int.from_bytes(header[5:8], "little")
    if header[0] != 0:
        raise XorbInvalid(f"chunk header version {header[0]} is not supported")
    if scheme > GROUPED_LZ4:
        raise XorbInvalid(f"chunk compression scheme {scheme} is not supported")
    if not 0 < raw <= CHUNK_RAW_NBYTES:
        raise XorbInvalid(f"a chunk of {raw} bytes; it must have 1 to {CHUNK_RAW_NBYTES}")
    if not 0 < stored <= CHUNK_STORED_NBYTES:
        raise XorbInvalid(f"a chunk of {stored} stored bytes; at most {CHUNK_STORED_NBYTES}")
    return stored, scheme, raw


def decode_chunk(
    scheme: int, stored: bytes | bytearray | memoryview, out: NDArray[np.uint8]
) -> None:
    """Write the raw bytes of a chunk, exactly as many as fit. Raises :class:`XorbInvalid`."""
    if scheme == AS_IS:
        if len(stored) != out.size:
            raise XorbInvalid("an uncompressed chunk has two lengths")
        out[:] = np.frombuffer(stored, np.uint8)
        return
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        # One byte more than declared is enough to see that there is more.
        plain = decoder.decompress(stored, max_length=out.size + 1)
    except RuntimeError as error:
        raise XorbInvalid("a chunk is no LZ4 frame") from error
    if len(plain) != out.size or not decoder.eof or decoder.unused_data:
        raise XorbInvalid("a chunk does not decode to its declared length")
    decoded = np.frombuffer(plain, np.uint8)
    if scheme == GROUPED_LZ4:
        ungroup(decoded, out)
    else:
        out[:] = decoded


def ungroup(grouped: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Undo byte grouping: four runs, of the bytes at positions 0, 1, 2 and 3 modulo four."""
    start = 0
    for position in range(4):
        target = out[position::4]
        target[:] = grouped[start : start + target.size]
        start += target.size


class XorbReader:
    """Checks a xorb while it streams by, chunk after chunk, in memory of a run and a buffer.

    Every chunk is decoded and digested, so a table made here can be believed: chunk ``i`` has this
    digest, and the chunks together have the announced digest of the xorb.
    """

    def __init__(self, digest: bytes, limits: Limits) -> None:
        self._digest = digest
        self._limits = limits
        self._tree = DigestTree()
        self._table: list[tuple[bytes, int, int]] = []
        self._raw_nbytes = 0
        self._in_footer = False
        self._run = np.empty(0, np.uint8)
        self._run_nbytes = 0

    def read(self, buffers: Iterable[bytes]) -> Iterator[memoryview]:
        """The raw chunks of the xorb in runs of about a MiB, each chunk checked.

        Raises :class:`XorbInvalid` for anything that is not the announced xorb and
        :class:`LimitExceeded` beyond ``limits.xorb_nbytes`` or ``limits.xorb_chunks``.
        """
        pending = bytearray()
        total = 0
        for buffer in buffers:
            total += len(buffer)
            if total > self._limits.xorb_nbytes:
                raise LimitExceeded("the xorb is too big", setting="limits.xorb_nbytes")
            if self._in_footer:
                continue
            pending += buffer
            taken = yield from self._take_chunks(pending)
            del pending[:taken]
        if pending and not self._in_footer:
            raise XorbInvalid("the xorb ends inside a chunk")
        if not self._table or self._tree.xorb_digest() != self._digest:
            raise XorbInvalid("the chunks are not those of the announced xorb")
        yield self._end_run()

    def table(self) -> bytes:
        """The chunk table, rows of :data:`TABLE`, once everything was read."""
        rows = np.zeros(len(self._table), TABLE)
        if self._table:
            digests, offsets, lengths = zip(*self._table, strict=True)
            rows["digest"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
            rows["offset"] = offsets
            rows["nbytes"] = lengths
        return rows.tobytes()

    def _take_chunks(self, pending: bytearray) -> Generator[memoryview, None, int]:
        """Runs as they fill up; returns how much of ``pending`` was taken: all whole chunks."""
        at = 0
        with memoryview(pending) as view:
            while len(view) - at >= HEADER_NBYTES:
                if view[at : at + len(FOOTER_IDENT)] == FOOTER_IDENT:
                    self._in_footer = True
                    break
                stored, scheme, raw = parse_header(view[at : at + HEADER_NBYTES])
                stop = at + HEADER_NBYTES + stored
                if stop > len(view):
                    break
                self._take_chunk(scheme, view[at + HEADER_NBYTES : stop], raw)
                at = stop
                if self._run_nbytes >= RUN_NBYTES:
                    yield self._end_run()
        return at

    def _take_chunk(self, scheme: int, stored: memoryview, raw_nbytes: int) -> None:
        if self._raw_nbytes + raw_nbytes > self._limits.xorb_nbytes:
            raise LimitExceeded("the xorb decodes to too much", setting="limits.xorb_nbytes")
        if len(self._table) == self._limits.xorb_chunks:
            raise LimitExceeded("the xorb has too many chunks", setting="limits.xorb_chunks")
        if not self._run.size:
            self._run = np.empty(RUN_NBYTES + CHUNK_RAW_NBYTES, np.uint8)
        chunk = self._run[self._run_nbytes : self._run_nbytes + raw_nbytes]
        decode_chunk(scheme, stored, chunk)
        digest = chunk_digest(chunk.data)
        self._tree.add(digest, raw_nbytes)
        self._table.append((digest, self._raw_nbytes, raw_nbytes))
        self._raw_nbytes += raw_nbytes
        self._run_nbytes += raw_nbytes

    def _end_run(self) -> memoryview:
        run = self._run[: self._run_nbytes].data
        self._run, self._run_nbytes = np.empty(0, np.uint8), 0
        return run


def check_run(run: bytes | memoryview, table: np.ndarray) -> None:
    """Raise :class:`XorbInvalid` unless ``run`` is the raw chunks that the rows name, joined."""
    view, at = memoryview(run), 0
    digests: list[bytes] = []
    for nbytes in table["nbytes"].tolist():
        digests.append(chunk_digest(view[at : at + nbytes]))
        at += nbytes
    if at != len(view) or b"".join(digests) != table["digest"].tobytes():
        raise XorbInvalid("a chunk does not have its digest")
