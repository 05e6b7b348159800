"""Take a stream apart while it flows: segments, their BLAKE3 digests and piece checks."""

from collections.abc import Iterator
from typing import Protocol

from blake3 import blake3

from app.digest import CHECK_BYTES, PIECE_BYTES, PieceHasher, content_id, piece_checks
from app.formats.chunking import Chunker
from app.formats.layout import Layout, NeedMore, parse_layout
from app.formats.segments import FileSegment
from app.ingest.files import Dissection, HashedSegment
from app.settings import Limits

LITERAL_NBYTES = 256 << 10
"""Opaque files up to this size are one literal; longer ones are cut into chunks."""


class Dissector:
    """Fed the bytes of one file in order. Holds no more of them than the header needs.

    ``nbytes`` is the file's size if it is known; without it the file is opaque, for no header can
    be checked against it. ``layout`` is the file's, if its header was read before.
    """

    def __init__(self, nbytes: int | None, limits: Limits, layout: Layout | None = None) -> None:
        self._nbytes = nbytes
        self._limits = limits
        self._held: list[memoryview] = []
        self._held_nbytes = 0
        self._needed_nbytes = 1
        self._layout: Layout | None = None
        self._cutter: _Cutter | None = None
        self._position = 0
        self._content_start = 0
        self._content: _ContentHasher | None = None
        self._segments: list[HashedSegment] = []
        if layout is not None and layout.segments:
            self._begin(layout, chunked=False)

    def feed(self, buffer: memoryview) -> None:
        """Take the next bytes; the buffer must not change afterwards."""
        if self._cutter is not None:
            self._cut(self._cutter, buffer)
            return
        self._held.append(buffer)
        self._held_nbytes += len(buffer)
        if self._held_nbytes >= self._needed_nbytes:
            self._decide()

    def finish(self) -> Dissection:
        """All segments. ``feed`` must have seen the whole file."""
        if self._cutter is None:
            self._begin(Layout("opaque"), chunked=False)
        if self._position > self._content_start:
            self._close(memoryview(b""), self._position)
        assert self._layout is not None
        return Dissection(self._layout.format, self._layout.warning, tuple(self._segments))

    def _decide(self) -> None:
        if self._nbytes is None:
            if self._held_nbytes > LITERAL_NBYTES:
                self._begin(Layout("opaque"), chunked=True)
            self._needed_nbytes = LITERAL_NBYTES + 1
            return
        answer = parse_layout(b"".join(self._held), self._nbytes, self._limits)
        if isinstance(answer, NeedMore):
            self._needed_nbytes = answer.nbytes
        else:
            self._begin(answer, chunked=self._nbytes > LITERAL_NBYTES)

    def _begin(self, layout: Layout, *, chunked: bool) -> None:
        self._layout = layout
        if layout.segments:
            self._cutter = _PlannedCutter(layout.segments)
        elif chunked:
            self._cutter = _ChunkCutter()
        else:
            self._cutter = _WholeCutter()
        held, self._held = self._held, []
        for buffer in held:
            self._cut(self._cutter, buffer)

    def _cut(self, cutter: "_Cutter", buffer: memoryview) -> None:
        base, done = self._position, 0
        for stop in cutter.stops(base, buffer):
            self._close(buffer[done : stop - base], stop)
            done = stop - base
        if done < len(buffer):
            if self._content is None:
                self._content = _ContentHasher()
            self._content.update(buffer[done:])
        self._position += len(buffer)

    def _close(self, tail: memoryview, stop: int) -> None:
        """End the current content at ``stop``; ``tail`` is what was not hashed of it."""
        assert self._cutter is not None
        if self._content is None:
            digest, checks = _hash_whole(tail)
        else:
            self._content.update(tail)
            digest, checks = self._content.finish()
            self._content = None
        segment = self._cutter.segment(self._content_start, stop)
        self._segments.append(HashedSegment(segment, digest, checks))
        self._content_start = stop


class _Cutter(Protocol):
    """Where segments end."""

    def stops(self, base: int, buffer: memoryview) -> Iterator[int]:
        """File offsets at which segments end inside ``buffer``, which begins at ``base``."""
        ...

    def segment(self, start: int, stop: int) -> FileSegment:
        """The segment between two ends."""
        ...


class _PlannedCutter:
    """Segments known from the header."""

    def __init__(self, segments: tuple[FileSegment, ...]) -> None:
        self._segments = segments
        self._next = 0

    def stops(self, base: int, buffer: memoryview) -> Iterator[int]:
        end = base + len(buffer)
        while self._next < len(self._segments):
            segment = self._segments[self._next]
            if segment.start + segment.nbytes > end:
                return
            yield segment.start + segment.nbytes

    def segment(self, start: int, stop: int) -> FileSegment:
        segment = self._segments[self._next]
        assert (segment.start, segment.start + segment.nbytes) == (start, stop)
        self._next += 1
        return segment


class _ChunkCutter:
    """Content-defined chunks."""

    def __init__(self) -> None:
        self._chunker = Chunker()

    def stops(self, base: int, buffer: memoryview) -> Iterator[int]:
        del base
        yield from self._chunker.feed(buffer)

    def segment(self, start: int, stop: int) -> FileSegment:
        return FileSegment(start, stop - start, "chunk")


class _WholeCutter:
    """One literal."""

    def stops(self, base: int, buffer: memoryview) -> Iterator[int]:
        del base, buffer
        yield from ()

    def segment(self, start: int, stop: int) -> FileSegment:
        return FileSegment(start, stop - start, "literal")


class _ContentHasher:
    """Digest and piece checks of a content that spans buffers."""

    def __init__(self) -> None:
        self._digest = blake3()
        self._pieces = PieceHasher()

    def update(self, part: memoryview) -> None:
        self._digest.update(part)
        self._pieces.update(part)

    def finish(self) -> tuple[bytes, bytes]:
        return content_id(self._digest.digest()), self._pieces.digest()


def _hash_whole(content: memoryview) -> tuple[bytes, bytes]:
    digest = blake3(content).digest()
    # The check of a single piece is the same function of the same bytes, only shorter.
    single = len(content) <= PIECE_BYTES
    return content_id(digest), digest[:CHECK_BYTES] if single else piece_checks(content)
