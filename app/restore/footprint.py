"""What one revision takes in the store: per file and tensor, and why it is less than it shows.

``logical = stored + file_dedup + tensor_dedup + delta + coding``, exactly. Bytes that an older repo
holds already are counted there, as far as the caller may know of it; a delta against a base that he
may not read counts as what it stands for.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.catalog.listing import Entry
from app.contents.refs import RAW, EncodingRef, load_refs
from app.db.inserting import batches
from app.db.tables import Encoding, File, Segment
from app.restore.homes import Home, find_homes, hidden_contents

_BATCH = 500


@dataclass(slots=True)
class Saved:
    """Bytes that each cause takes off the logical size."""

    file_dedup: int = 0
    tensor_dedup: int = 0
    delta: int = 0
    coding: int = 0


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A segment of a file. ``stored_nbytes`` is 0 where the bytes are counted elsewhere."""

    name: str | None
    role: str
    dtype: str | None
    shape: list[int] | None
    digest: bytes
    encoding: str
    base_digest: bytes | None
    base_home: Home | None
    """Where the caller may see the base; None if nowhere."""
    shared_with: Home | None
    """The older repo that holds these bytes already."""
    logical_nbytes: int
    stored_nbytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the revision."""

    path: str
    sha256: bytes
    format: str
    warning: str | None
    logical_nbytes: int
    stored_nbytes: int
    tensors: list[StoredTensor]


@dataclass(slots=True)
class Footprint:
    """A revision."""

    files: list[StoredFile] = field(default_factory=list)
    saved: Saved = field(default_factory=Saved)
    logical_nbytes: int = 0
    stored_nbytes: int = 0
    is_settled: bool = True
    """Whether nothing of it waits for the encoder."""


def measure_footprint(
    session: Session, principal: Principal | None, home: Home, entries: Sequence[Entry]
) -> Footprint:
    """Account for the files ``entries`` of the repo ``home``, in a fixed number of queries."""
    file_ids = [entry.file_id for entry in entries if entry.file_id is not None]
    files = _load_files(session, file_ids)
    segments = _load_segments(session, file_ids)
    refs = load_refs(session, {part.content_id for parts in segments.values() for part in parts})
    bases = {ref.base.content_id for ref in refs.values() if ref.base is not None}
    homes = find_homes(session, principal, refs.keys() | bases)
    account = _Account(home, refs, homes, hidden_contents(session, bases, homes))
    footprint = Footprint(is_settled=not _is_waiting(session, file_ids))
    for entry in entries:
        if entry.file_id is not None:
            account.add(footprint, entry, files[entry.file_id], segments[entry.file_id])
    return footprint


class _Account:
    """Books files in order: what was seen before is a copy."""

    def __init__(
        self,
        home: Home,
        refs: dict[int, EncodingRef],
        homes: dict[int, Home],
        hidden: Collection[int],
    ) -> None:
        self._home = home
        self._hidden = hidden
        self._refs = refs
        self._homes = homes
        self._files: set[int] = set()
        self._contents: set[int] = set()

    def add(
        self, footprint: Footprint, entry: Entry, file: File, segments: Sequence[Segment]
    ) -> None:
        """Book one file."""
        copy = file.id in self._files or all(
            self._shared_with(segment.content_id) is not None for segment in segments
        )
        self._files.add(file.id)
        tensors = [self._tensor(segment, copy, footprint.saved) for segment in segments]
        stored = sum(tensor.stored_nbytes for tensor in tensors)
        footprint.files.append(
            StoredFile(
                path=entry.path,
                sha256=file.sha256,
                format=file.format,
                warning=file.warning,
                logical_nbytes=file.size,
                stored_nbytes=stored,
                tensors=tensors,
            )
        )
        footprint.logical_nbytes += file.size
        footprint.stored_nbytes += stored

    def _tensor(self, segment: Segment, copy: bool, saved: Saved) -> StoredTensor:
        ref = self._refs[segment.content_id]
        shared_with = self._shared_with(segment.content_id)
        stored = self._book(ref, copy, shared_with is not None, saved)
        base_home = None if ref.base is None else self._homes.get(ref.base.content_id)
        return StoredTensor(
            name=segment.name,
            role=segment.role,
            dtype=segment.dtype,
            shape=None if segment.shape is None else json.loads(segment.shape),
            digest=ref.digest,
            encoding=RAW if self._is_masked(ref) else ref.codec,
            # A base that the caller cannot see is not even named: a digest tells who has it.
            base_digest=None if ref.base is None or base_home is None else ref.base.digest,
            base_home=base_home,
            shared_with=shared_with,
            logical_nbytes=segment.nbytes,
            stored_nbytes=stored,
        )

    def _is_masked(self, ref: EncodingRef) -> bool:
        """Whether what a delta saves would tell of a base that the caller may not read."""
        return ref.base is not None and ref.base.content_id in self._hidden

    def _shared_with(self, content_id: int) -> Home | None:
        oldest = self._homes.get(content_id, self._home)
        return None if oldest == self._home else oldest

    def _book(self, ref: EncodingRef, copy: bool, shared: bool, saved: Saved) -> int:
        """Stored bytes of one segment; the rest goes to its cause."""
        repeated = shared or ref.content_id in self._contents
        self._contents.add(ref.content_id)
        if copy:
            saved.file_dedup += ref.nbytes
            return 0
        if repeated:
            saved.tensor_dedup += ref.nbytes
            return 0
        if self._is_masked(ref):
            return ref.nbytes
        if ref.base is not None:
            saved.delta += ref.nbytes - ref.stored_nbytes
        else:
            saved.coding += ref.nbytes - ref.stored_nbytes
        return ref.stored_nbytes


def _is_waiting(session: Session, file_ids: Collection[int]) -> bool:
    waiting = (
        select(Encoding.id)
        .join(Segment, Segment.content_id == Encoding.content_id)
        .where(Encoding.final.is_(False))
        .limit(1)
    )
    return any(
        session.scalar(waiting.where(Segment.file_id.in_(some))) is not None
        for some in batches(sorted(set(file_ids)))
    )


def _load_files(session: Session, file_ids: Collection[int]) -> dict[int, File]:
    ids = sorted(set(file_ids))
    return {
        file.id: file
        for at in range(0, len(ids), _BATCH)
        for file in session.scalars(select(File).where(File.id.in_(ids[at : at + _BATCH])))
    }


def _load_segments(session: Session, file_ids: Collection[int]) -> dict[int, list[Segment]]:
    ids = sorted(set(file_ids))
    found: dict[int, list[Segment]] = {file_id: [] for file_id in ids}
    for at in range(0, len(ids), _BATCH):
        for segment in session.scalars(
            select(Segment)
            .where(Segment.file_id.in_(ids[at : at + _BATCH]))
            .order_by(Segment.file_id, Segment.start)
        ):
            found[segment.file_id].append(segment)
    return found
