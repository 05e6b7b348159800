"""What a file consists of and where its bytes lie, as one snapshot of the database."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select

from app.contents.refs import EncodingRef, load_file_refs
from app.db.tables import File, Segment
from app.digest import PIECE_BYTES
from app.errors import Damaged, EntryNotFound
from app.hub import Hub


class PlannedSegment(NamedTuple):
    """A run of the file and the content it holds."""

    start: int
    nbytes: int
    content_id: int


@dataclass(frozen=True, slots=True)
class FilePlan:
    """The segments of a file in order, and an encoding of each content as of ``made_at``."""

    file_id: int
    sha256: bytes
    nbytes: int
    segments: tuple[PlannedSegment, ...]
    refs: dict[int, EncodingRef]
    made_at: datetime


class Whole(NamedTuple):
    """Work: consecutive contents, each complete."""

    content_ids: tuple[int, ...]
    nbytes: int


class Slice(NamedTuple):
    """Work: a part of one content."""

    content_id: int
    start: int
    stop: int
    to_end: bool
    """Whether later slices go on to the content's end, so that its digest can be checked."""

    @property
    def nbytes(self) -> int:
        """Raw bytes."""
        return self.stop - self.start


def load_plan(hub: Hub, file_id: int) -> FilePlan:
    """The plan of a file. Raises EntryNotFound if there is no such file."""
    with hub.db.read() as session:
        file = session.execute(
            select(File.sha256, File.size).where(File.id == file_id)
        ).one_or_none()
        if file is None:
            raise EntryNotFound("the file does not exist any more")
        rows = session.execute(
            select(Segment.start, Segment.nbytes, Segment.content_id)
            .where(Segment.file_id == file_id)
            .order_by(Segment.start)
        )
        segments = tuple(PlannedSegment(*row) for row in rows)
        refs = load_file_refs(session, file_id)
    if any(segment.content_id not in refs for segment in segments):
        raise Damaged("a part of the file is not stored; upload the file again")
    return FilePlan(
        file_id=file_id,
        sha256=file.sha256,
        nbytes=file.size,
        segments=segments,
        refs=refs,
        made_at=hub.clock.now(),
    )


def renewed(hub: Hub, plan: FilePlan) -> FilePlan:
    """The plan itself while it is young, else the same segments with encodings loaded anew.

    Objects outlive every plan that names them; that is what its age is bounded for.
    """
    now = hub.clock.now()
    if now - plan.made_at <= timedelta(seconds=hub.settings.timers.plan_s):
        return plan
    with hub.db.read() as session:
        refs = load_file_refs(session, plan.file_id)
    # A file deleted meanwhile keeps its old refs: what is still there can still be sent.
    return replace(plan, refs={**plan.refs, **refs}, made_at=now)


class Cutter:
    """Cuts the range of a file into work items, in order, of a size decided at each step."""

    def __init__(self, plan: FilePlan, start: int, stop: int) -> None:
        self._segments = plan.segments
        self._at = start
        self._stop = stop
        self._index = max(0, bisect_right(plan.segments, start, key=lambda s: s.start) - 1)

    def take(self, limit_nbytes: int) -> Whole | Slice | None:
        """The next item, of about ``limit_nbytes`` raw bytes at most; None at the end."""
        if self._at >= self._stop:
            return None
        segment = self._segments[self._index]
        if self._fits(segment, limit_nbytes):
            return self._take_whole(limit_nbytes)
        return self._take_slice(segment, limit_nbytes)

    def _fits(self, segment: PlannedSegment, room: int) -> bool:
        ends = segment.start + segment.nbytes <= self._stop
        return self._at == segment.start and ends and segment.nbytes <= room

    def _take_whole(self, room: int) -> Whole:
        taken: list[PlannedSegment] = []
        while self._index < len(self._segments):
            segment = self._segments[self._index]
            if self._at >= self._stop or not self._fits(segment, room):
                break
            taken.append(segment)
            room -= segment.nbytes
            self._advance(segment, segment.start + segment.nbytes)
        return Whole(
            tuple(segment.content_id for segment in taken),
            sum(segment.nbytes for segment in taken),
        )

    def _take_slice(self, segment: PlannedSegment, room: int) -> Slice:
        start = self._at - segment.start
        end = min(segment.nbytes, self._stop - segment.start)
        stop = min(end, max(start // PIECE_BYTES + 1, (start + room) // PIECE_BYTES) * PIECE_BYTES)
        self._advance(segment, segment.start + stop)
        return Slice(segment.content_id, start, stop, to_end=end == segment.nbytes)

    def _advance(self, segment: PlannedSegment, position: int) -> None:
        self._at = position
        if position == segment.start + segment.nbytes:
            self._index += 1
