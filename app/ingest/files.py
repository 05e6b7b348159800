"""What the ingest knows about a file: its parts with their digests, and where its bytes lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.formats.segments import FileSegment, Format


@dataclass(frozen=True, slots=True)
class HashedSegment:
    """A segment and who its content is."""

    segment: FileSegment
    digest: bytes
    """Content id, 33 bytes."""
    checks: bytes
    """Piece checks of the raw bytes."""


@dataclass(frozen=True, slots=True)
class Dissection:
    """A file taken apart: contiguous segments that cover it."""

    format: Format
    warning: str | None
    segments: tuple[HashedSegment, ...]


class Resting(NamedTuple):
    """Where a segment lies already, raw, in a live object: it is not stored a second time."""

    object_id: int
    start: int


class Placed(NamedTuple):
    """A segment and where it lies: in the object ``object_id``, or (None) in the received one."""

    part: HashedSegment
    object_id: int | None
    start: int


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file whose bytes are stored, not yet visible.

    Segments that rest nowhere lie one after the other in the received object, from
    ``object_start`` on.
    """

    sha256: bytes
    nbytes: int
    git_oid: str | None
    """Git blob id; None for files too big to be regular git blobs."""
    dissection: Dissection
    object_start: int = 0
    resting: Mapping[int, Resting] = field(default_factory=dict)
    """By offset in the file."""

    def placed(self) -> Iterator[Placed]:
        """Every segment and its place, in the order of the file."""
        at = self.object_start
        for part in self.dissection.segments:
            rest = self.resting.get(part.segment.start)
            if rest is not None:
                yield Placed(part, rest.object_id, rest.start)
            else:
                yield Placed(part, None, at)
                at += part.segment.nbytes


@dataclass(frozen=True, slots=True)
class IngestedFile:
    """A file that is stored, durable and readable."""

    file_id: int
    sha256: bytes
    nbytes: int
