"""Segments of a file that are stored before the file is: which, and what is left to store.

A xorb holds raw bytes, so a tensor that lies in one as a whole need not be written again; what is
cut by the end of a xorb is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.formats.segments import FileSegment, Layout
from app.ingest.files import Resting


class Stretch(NamedTuple):
    """Bytes ``[start, stop)`` of a file as they lie, raw, from ``object_start`` on in an object."""

    start: int
    stop: int
    object_id: int | None
    """None: in no object of their own, so they have to be stored."""
    object_start: int


@dataclass(frozen=True, slots=True)
class RestingFile:
    """What is known of a file before its bytes are read: its layout, and what rests of it."""

    layout: Layout | None = None
    places: Mapping[int, Resting] = field(default_factory=dict)
    """By offset in the file; whole segments of the layout."""

    def cutter(self) -> "RestCutter":
        """For one pass over the file."""
        segments = () if self.layout is None else self.layout.segments
        return RestCutter(each for each in segments if each.start in self.places)


NOTHING_RESTS = RestingFile()


class RestCutter:
    """Takes resting segments out of a stream."""

    def __init__(self, segments: Iterable[FileSegment]) -> None:
        self._segments = iter(segments)
        self._at = 0
        self._next = next(self._segments, None)

    def without(self, buffer: memoryview) -> Iterator[memoryview]:
        """What is left of the next bytes of the file."""
        begin, at = self._at, self._at
        self._at = end = begin + len(buffer)
        while at < end:
            rest = self._next
            if rest is None or rest.start >= end:
                yield buffer[at - begin :]
                return
            if rest.start > at:
                yield buffer[at - begin : rest.start - begin]
            at = rest.start + rest.nbytes
            if at <= end:
                self._next = next(self._segments, None)


def find_resting(
    segments: Iterable[FileSegment], stretches: Iterable[Stretch]
) -> dict[int, Resting]:
    """Segments that lie as a whole in one object, by their offset in the file.

    Both come in the order of the file; ``stretches`` cover it.
    """
    found: dict[int, Resting] = {}
    runs = _joined(stretches)
    run = next(runs, None)
    for segment in segments:
        while run is not None and run.stop <= segment.start:
            run = next(runs, None)
        if run is None:
            break
        stop = segment.start + segment.nbytes
        if run.object_id is not None and run.start <= segment.start and stop <= run.stop:
            at = run.object_start + segment.start - run.start
            found[segment.start] = Resting(run.object_id, at)
    return found


def _joined(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """The same with neighbours joined that are neighbours in their object as well."""
    last: Stretch | None = None
    for each in stretches:
        if (
            last is not None
            and last.object_id == each.object_id
            and last.object_start + last.stop - last.start == each.object_start
        ):
            last = last._replace(stop=each.stop)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
