"""Is everything there? The invariants of the store, checked from the database and a listing.

I-1 every committed file is live, sound and decodes to its digest. I-2 what an encoding names is a
live object. I-3 every listed key has a row. I-5 bases exist and are self-contained. I-6 (deep) what
a reader finishes equals the digest. I-4, that keys are never reused, holds by construction. Damage
is named by repository and path. Nothing is changed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3
from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.contents.refs import EncodingRef, load_refs
from app.contents.verifying import stream_strictly
from app.db.tables import Content, Encoding, File, Segment, StoredObject, TreeEntry
from app.digest import CHECK_BYTES, PIECE_BYTES, content_id
from app.errors import Damaged
from app.gc.naming import places_of_contents, places_of_file
from app.gc.sweeping import unknown_objects
from app.hub import Hub

BATCH = 1000
"""Rows looked at per query."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken invariant."""

    kind: str
    """condemned-file | damaged-file | segments | no-encoding | wrong-size | out-of-bounds |
    dead-object | base | lost-object | unknown-object | unreadable | wrong-bytes"""
    detail: str
    places: list[str] = field(default_factory=list)
    """``type/namespace/name:path`` of files that suffer."""


@dataclass(slots=True)
class FsckReport:
    """What was looked at and what is wrong."""

    files: int = 0
    contents: int = 0
    objects: int = 0
    verified_nbytes: int = 0
    """Raw bytes that were read, decoded and hashed (deep only)."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing is wrong. Unknown objects waste space and lose nothing, yet count."""
        return not self.problems


def fsck(
    hub: Hub, *, deep: bool = False, progress: Callable[[int, int], None] | None = None
) -> FsckReport:
    """Check every invariant; with ``deep`` also read, decode and hash every byte.

    ``progress(done, total)`` is told raw bytes while reading. Raises StoreUnavailable when the
    store cannot be asked: then nothing is known.
    """
    report = FsckReport()
    with hub.db.read() as session:
        report.files = session.scalar(select(func.count()).select_from(File)) or 0
        report.contents = session.scalar(select(func.count()).select_from(Content)) or 0
        _check_files(session, report)
        _check_segments(session, report)
        _check_encodings(session, report)
    _check_objects(hub, report)
    if deep:
        _check_bytes(hub, report, progress or (lambda _done, _total: None))
    return report


def _check_files(session: Session, report: FsckReport) -> None:
    shown = select(TreeEntry.file_id).where(TreeEntry.file_id.is_not(None))
    for file in session.scalars(
        select(File).where(File.id.in_(shown), or_(File.state != "live", File.health != "ok"))
    ):
        kind = "condemned-file" if file.state != "live" else "damaged-file"
        _blame_file(session, report, kind, file.id, f"file {file.sha256.hex()}")


def _check_segments(session: Session, report: FsckReport) -> None:
    """Segments of every file are contiguous, cover it, and have the size of their content."""
    last = 0
    while files := session.execute(
        select(File.id, File.size).where(File.id > last).order_by(File.id).limit(BATCH)
    ).all():
        last = files[-1].id
        ends = dict.fromkeys((file.id for file in files), 0)
        for file_id, start, nbytes, raw_nbytes in session.execute(
            select(Segment.file_id, Segment.start, Segment.nbytes, Content.nbytes)
            .join(Content, Content.id == Segment.content_id)
            .where(Segment.file_id.in_(ends))
            .order_by(Segment.file_id, Segment.start)
        ):
            if start != ends[file_id] or nbytes != raw_nbytes:
                _blame_file(session, report, "segments", file_id, f"segment at {start} is off")
            ends[file_id] = start + nbytes
        for file_id, size in files:
            if ends[file_id] != size:
                detail = f"segments end at {ends[file_id]} of {size}"
                _blame_file(session, report, "segments", file_id, detail)


def _check_encodings(session: Session, report: FsckReport) -> None:
    base = aliased(Encoding)
    missing = select(Content.id).where(~Content.id.in_(select(Encoding.content_id)))
    off_base = (
        select(Encoding.content_id)
        .outerjoin(base, base.content_id == Encoding.base_id)
        .where(Encoding.base_id.is_not(None), or_(base.id.is_(None), base.base_id.is_not(None)))
    )
    placed = (
        select(Encoding.content_id)
        .join(StoredObject, StoredObject.id == Encoding.object_id)
        .join(Content, Content.id == Encoding.content_id)
    )
    dead = placed.where(StoredObject.state != "live")
    outside = placed.where(
        or_(Encoding.start < 0, Encoding.start + Encoding.nbytes > StoredObject.nbytes)
    )
    wrong_size = placed.where(
        or_(
            and_(Encoding.codec == "raw", Encoding.nbytes != Content.nbytes),
            func.length(Encoding.checks)
            != (Encoding.nbytes + PIECE_BYTES - 1) // PIECE_BYTES * CHECK_BYTES,
        )
    )
    condemned = select(Segment.content_id).join(Content, Content.id == Segment.content_id)
    faults: list[tuple[str, Select[Any], str]] = [
        ("no-encoding", missing, "content has no encoding"),
        ("base", off_base, "base of a delta is missing or a delta itself"),
        ("dead-object", dead, "encoding lies in an object that is not live"),
        ("out-of-bounds", outside, "encoding lies outside its object"),
        ("wrong-size", wrong_size, "sizes or checks of an encoding do not fit"),
        ("damaged-file", condemned.where(Content.health != "ok"), "content is marked damaged"),
    ]
    for kind, query, detail in faults:
        for content in session.scalars(query.distinct()):
            _blame_content(session, report, kind, content, detail)


def _check_objects(hub: Hub, report: FsckReport) -> None:
    """Every live object is in the bucket with its size, and nothing unknown is."""
    listed = {stat.key: stat.nbytes for stat in hub.store.list()}
    with hub.db.read() as session:
        for object_id, key, nbytes in session.execute(
            select(StoredObject.id, StoredObject.key, StoredObject.nbytes)
            .where(StoredObject.state == "live")
            .order_by(StoredObject.id)
        ):
            report.objects += 1
            found = listed.get(key)
            if found == nbytes:
                continue
            what = "missing" if found is None else f"{found} instead of {nbytes} bytes long"
            places = _places_of_object(session, object_id)
            report.problems.append(Problem("lost-object", f"object {key} is {what}", places))
    for stat in unknown_objects(hub):
        detail = f"nothing knows object {stat.key} of {stat.nbytes} bytes"
        report.problems.append(Problem("unknown-object", detail))


def _check_bytes(hub: Hub, report: FsckReport, progress: Callable[[int, int], None]) -> None:
    with hub.db.read() as session:
        total = session.scalar(select(func.sum(File.size))) or 0
        files = session.execute(select(File.id, File.sha256, File.size).order_by(File.id)).all()
    verified: set[int] = set()
    for file_id, sha256, size in files:
        _check_file_bytes(hub, report, file_id, sha256, verified)
        report.verified_nbytes += size
        progress(report.verified_nbytes, total)
    with hub.db.read() as session:
        rest = [i for i in session.scalars(select(Content.id)) if i not in verified]
        refs = load_refs(session, rest)
    for ref in refs.values():
        if not _content_is_sound(hub, ref):
            with hub.db.read() as session:
                _blame_content(session, report, "unreadable", ref.content_id, "bytes are damaged")


def _check_file_bytes(
    hub: Hub, report: FsckReport, file_id: int, sha256: bytes, verified: set[int]
) -> None:
    """Hash the file as a whole and, on the way, every content that was not hashed yet."""
    with hub.db.read() as session:
        parts = session.scalars(
            select(Segment.content_id).where(Segment.file_id == file_id).order_by(Segment.start)
        ).all()
        refs = load_refs(session, parts)
    whole = hashlib.sha256()
    readable = True
    for part in parts:
        ref = refs.get(part)
        sound = ref is not None and _content_is_sound(hub, ref, whole.update)
        verified.add(part)
        if not sound:
            readable = False
            with hub.db.read() as session:
                _blame_content(session, report, "unreadable", part, "bytes are damaged")
    if readable and whole.digest() != sha256:
        with hub.db.read() as session:
            detail = f"file {sha256.hex()} decodes to other bytes"
            _blame_file(session, report, "wrong-bytes", file_id, detail)


def _content_is_sound(
    hub: Hub, ref: EncodingRef, feed: Callable[[memoryview], None] | None = None
) -> bool:
    """Decode and hash a content; follows it if it is encoded anew meanwhile."""
    hasher = blake3()
    done = 0
    while True:
        try:
            for window in stream_strictly(hub, ref, done):
                hasher.update(window)
                if feed is not None:
                    feed(window)
                done += len(window)
            return content_id(hasher.digest()) == ref.digest
        except Damaged:
            with hub.db.read() as session:
                fresh = load_refs(session, [ref.content_id]).get(ref.content_id)
            if fresh is None or fresh.key == ref.key:
                return False
            ref = fresh


def _places_of_object(session: Session, object_id: int) -> list[str]:
    contents = session.scalars(
        select(Encoding.content_id).where(Encoding.object_id == object_id).limit(BATCH)
    ).all()
    return places_of_contents(session, contents)


def _blame_file(session: Session, report: FsckReport, kind: str, file_id: int, detail: str) -> None:
    report.problems.append(Problem(kind, detail, places_of_file(session, file_id)))


def _blame_content(
    session: Session, report: FsckReport, kind: str, content: int, detail: str
) -> None:
    row = session.get_one(Content, content)
    places = places_of_contents(session, [content])
    report.problems.append(Problem(kind, f"content {row.digest[1:].hex()}: {detail}", places))
