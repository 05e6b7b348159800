"""What a commit may ask for, one small value per kind of change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AddFile:
    """A regular file whose bytes were ingested already."""

    path: str
    file_id: int
    oid: str
    """Git blob id of the bytes."""


@dataclass(frozen=True, slots=True)
class AddLfsFile:
    """A big file by its digest: uploaded to this repo before, or readable somewhere (a copy)."""

    path: str
    sha256: bytes
    nbytes: int | None
    """As announced; None for copies."""


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Removal of one file; of a directory, if that is what the path names."""

    path: str


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    """Removal of a directory with everything in it."""

    path: str


Operation = AddFile | AddLfsFile | DeleteFile | DeleteFolder
