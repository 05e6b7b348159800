"""What the ingest knows about a file: its parts with their digests, and where its bytes lie."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file whose bytes lie in an object from ``object_start`` on, not yet visible."""

    sha256: bytes
    nbytes: int
    git_oid: str | None
    """Git blob id; None for files too big to be regular git blobs."""
    dissection: Dissection
    object_start: int = 0


@dataclass(frozen=True, slots=True)
class IngestedFile:
    """A file that is stored, durable and readable."""

    file_id: int
    sha256: bytes
    nbytes: int
