"""Restore plans as values, checked before they are believed (docs/formats/restore-plan.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

from client.errors import BadAnswer

VERSION = 1
RAW = "raw"
"""The codec of stored bytes that are the content itself, without a frame."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a content's stored bytes are and how they decode."""

    codec: str
    base: int | None
    """Number of the content that the frame is a delta against."""
    extent: int
    offset: int
    stored_nbytes: int


@dataclass(frozen=True, slots=True)
class PlannedContent:
    """Bytes that occur in the file, or a base of such."""

    digest: bytes
    """BLAKE3, 32 bytes."""
    nbytes: int
    location: Location | None
    """None: not handed out in stored form; read it as a range of the file."""


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """A run of the file."""

    start: int
    nbytes: int
    content: int


@dataclass(frozen=True, slots=True)
class Extent:
    """A URL that serves ``nbytes`` of stored bytes. With ``headers`` it serves them only whole."""

    url: str
    nbytes: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """How to put a file together."""

    sha256: bytes
    nbytes: int
    segments: tuple[PlannedSegment, ...]
    contents: tuple[PlannedContent, ...]
    extents: tuple[Extent, ...]

    @classmethod
    def parse(cls, answer: Any) -> Self:
        """A plan from its JSON. Raises BadAnswer for anything inconsistent."""
        try:
            if answer["version"] != VERSION:
                raise BadAnswer(f"restore plan of version {answer['version']}, not {VERSION}")
            plan = cls(
                sha256=bytes.fromhex(answer["sha256"]),
                nbytes=_count(answer["nbytes"]),
                segments=_segments(answer["segments"]),
                contents=tuple(_content(row) for row in answer["contents"]),
                extents=tuple(_extent(row) for row in answer["extents"]),
            )
            plan.check()
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise BadAnswer(f"the restore plan makes no sense: {error!r}") from error
        return plan

    def check(self) -> None:
        """Every number within its bounds; raises ValueError."""
        if sum(segment.nbytes for segment in self.segments) != self.nbytes:
            raise ValueError("the segments are not the file")
        for segment in self.segments:
            if self.contents[segment.content].nbytes != segment.nbytes:
                raise ValueError("a segment is not as long as its content")
        for number, content in enumerate(self.contents):
            if content.location is not None:
                self._check_location(number, content.location)

    def _check_location(self, number: int, location: Location) -> None:
        if location.offset + location.stored_nbytes > self.extents[location.extent].nbytes:
            raise ValueError("stored bytes lie outside their extent")
        if location.base is not None:
            base = self.contents[location.base]
            if location.base == number or base.location is None or base.location.base is not None:
                raise ValueError("a base that is no base")


def _segments(rows: Any) -> tuple[PlannedSegment, ...]:
    starts = accumulate((_count(nbytes) for nbytes, _ in rows), initial=0)
    return tuple(
        PlannedSegment(start, nbytes, _count(content))
        for start, (nbytes, content) in zip(starts, rows, strict=False)
    )


def _content(row: list[Any]) -> PlannedContent:
    algorithm, _, hexed = row[0].partition(":")
    digest = bytes.fromhex(hexed)
    if algorithm != "blake3" or len(digest) != 32:
        raise ValueError(f"not a content id: {row[0]}")
    if len(row) == 2:
        return PlannedContent(digest, _count(row[1]), None)
    _, nbytes, codec, base, extent, offset, stored_nbytes = row
    location = Location(
        codec=str(codec),
        base=None if base is None else _count(base),
        extent=_count(extent),
        offset=_count(offset),
        stored_nbytes=_count(stored_nbytes),
    )
    if codec == RAW and (base is not None or stored_nbytes != nbytes):
        raise ValueError("raw bytes are stored as they are")
    return PlannedContent(digest, _count(nbytes), location)


def _extent(row: Mapping[str, Any]) -> Extent:
    headers = {str(name): str(value) for name, value in row.get("headers", {}).items()}
    return Extent(str(row["url"]), _count(row["nbytes"]), headers)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"not a count: {value!r}")
    return value
