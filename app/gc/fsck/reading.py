"""The deep half of a check: every stored object read, every content decoded, every file hashed."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from blake3 import blake3
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from app.contents.findings import LOST, Found, record
from app.contents.refs import EncodingRef, load_refs
from app.contents.verifying import stream_strictly
from app.db.inserting import batches
from app.db.tables import Content, Encoding, File, Finding, Segment, StoredObject
from app.digest import content_id
from app.errors import Damaged
from app.gc.soundness import (
    OF_OBJECTS,
    Inspected,
    inspect_object,
    settle,
    settle_sound,
    unreadable,
)
from app.hub import Hub
from app.store.contract import StoreUnavailable

KINDS = {*OF_OBJECTS, "damaged-content", "wrong-bytes"} - {"lost-object"}
"""What is judged here, whole, every time."""

PROBE_KEY = "probe/fsck"
"""Never written: asking for it shows whether the store answers at all."""

PAGE = 1000
BATCH = 200
"""Sound objects noted in one transaction."""


def read_objects(
    hub: Hub, after: int, check: Callable[[], None]
) -> Iterator[tuple[Inspected, list[Found]]]:
    """Live and retired objects by id, each with what is wrong with its bytes.

    Raises StoreUnavailable when the store does not answer for any object.
    """
    sound: list[Inspected] = []
    for row in _objects(hub, after):
        check()
        found = look_at(hub, row)
        if found:
            yield row, settle(hub, row, found, read=True)
            continue
        sound.append(row)
        yield row, []
        if len(sound) == BATCH:
            settle_sound(hub, sound)
            sound = []
    settle_sound(hub, sound)


def look_at(hub: Hub, row: Inspected) -> list[Found]:
    """What is wrong with an object, or that it alone cannot be read.

    Raises StoreUnavailable when the store does not answer for any object.
    """
    try:
        return inspect_object(hub, row)
    except StoreUnavailable as error:
        hub.store.stat(PROBE_KEY)
        return [unreadable(row, error)]


def read_files(
    hub: Hub, after: int, since: datetime, check: Callable[[], None]
) -> Iterator[tuple[int, int, list[Found]]]:
    """Files by id with their size: hashed as a whole and, on the way, content by content.

    Contents that were verified after ``since`` are not hashed on their own again.
    """
    while True:
        with hub.db.read() as session:
            page = session.execute(
                select(File.id, File.sha256, File.size)
                .where(File.id > after)
                .order_by(File.id)
                .limit(PAGE)
            ).all()
        for file_id, sha256, size in page:
            check()
            yield file_id, size, _read_file(hub, file_id, sha256, since, check)
        if len(page) < PAGE:
            return
        after = page[-1].id


def read_rest(
    hub: Hub, after: int, since: datetime, check: Callable[[], None]
) -> Iterator[tuple[int, list[Found]]]:
    """Contents that no file of :func:`read_files` held: bases that outlived their files."""
    while True:
        with hub.db.read() as session:
            ids = session.scalars(
                select(Content.id)
                .where(Content.id > after, _unverified(since))
                .order_by(Content.id)
                .limit(PAGE)
            ).all()
            refs = load_refs(session, ids)
        sound: list[int] = []
        for content in ids:
            check()
            if content not in refs:
                continue
            if _reads(hub, refs[content]):
                sound.append(content)
                yield content, []
            else:
                yield content, _blame(hub, refs[content])
        _note_sound(hub, sound, since)
        if len(ids) < PAGE:
            return
        after = ids[-1]


def _objects(hub: Hub, after: int) -> Iterator[Inspected]:
    while True:
        with hub.db.read() as session:
            page = session.execute(
                select(StoredObject.id, StoredObject.key, StoredObject.nbytes)
                .where(StoredObject.id > after, StoredObject.state != "pending")
                .order_by(StoredObject.id)
                .limit(PAGE)
            ).all()
        yield from (Inspected(*row) for row in page)
        if len(page) < PAGE:
            return
        after = page[-1].id


def _read_file(
    hub: Hub, file_id: int, sha256: bytes, since: datetime, check: Callable[[], None]
) -> list[Found]:
    whole = hashlib.sha256()
    readable = True
    found: list[Found] = []
    sound: list[int] = []
    for ref in _parts(hub, file_id):
        check()
        if ref is None:
            readable = False
        elif _reads(hub, ref, whole.update):
            sound.append(ref.content_id)
        else:
            readable = False
            found += _blame(hub, ref)
        if len(sound) == PAGE:
            _note_sound(hub, sound, since)
            sound = []
    _note_sound(hub, sound, since)
    if not readable or whole.digest() == sha256:
        return found
    wrong = Found("wrong-bytes", f"file {sha256.hex()} decodes to other bytes", file_id)
    hub.db.run(lambda session: _mark_file(session, hub, wrong))
    return [*found, wrong]


def _parts(hub: Hub, file_id: int) -> Iterator[EncodingRef | None]:
    """Where the contents of a file lie, in order; None for one that is nowhere."""
    after = -1
    while True:
        with hub.db.read() as session:
            page = session.execute(
                select(Segment.content_id, Segment.start)
                .where(Segment.file_id == file_id, Segment.start > after)
                .order_by(Segment.start)
                .limit(PAGE)
            ).all()
            refs = load_refs(session, [part for part, _ in page])
        yield from (refs.get(part) for part, _ in page)
        if len(page) < PAGE:
            return
        after = page[-1].start


def _reads(
    hub: Hub, ref: EncodingRef, feed: Callable[[memoryview], None] = lambda _window: None
) -> bool:
    """Whether a content decodes to its digest; follows it if it is encoded anew meanwhile."""
    hasher = blake3()
    done = 0
    while True:
        try:
            for window in stream_strictly(hub, ref, done):
                hasher.update(window)
                feed(window)
                done += len(window)
            return content_id(hasher.digest()) == ref.digest
        except Damaged:
            with hub.db.read() as session:
                fresh = load_refs(session, [ref.content_id]).get(ref.content_id)
            if fresh is None or (fresh.key, fresh.start) == (ref.key, ref.start):
                return False
            ref = fresh


def _note_sound(hub: Hub, content_ids: list[int], since: datetime) -> None:
    """Note when contents were last decoded and hashed."""

    def work(session: Session) -> None:
        for ids in batches(sorted(content_ids)):
            session.execute(
                update(Content)
                .where(Content.id.in_(ids), _unverified(since))
                .values(last_verified_at=hub.clock.now())
                .execution_options(synchronize_session=False)
            )

    if content_ids:
        hub.db.run(work)


def _blame(hub: Hub, ref: EncodingRef) -> list[Found]:
    """Find a content damaged, unless its base is known to be or it was encoded anew meanwhile."""
    found = Found("damaged-content", "it does not decode to its digest", content_id=ref.content_id)

    def work(session: Session) -> list[Found]:
        if ref.base is not None and _is_blamed(session, ref.base.content_id):
            return []
        if _is_blamed(session, ref.content_id):
            return [found]
        held = select(Encoding.id).where(
            Encoding.content_id == ref.content_id,
            Encoding.object_id == ref.object_id,
            Encoding.start == ref.start,
        )
        if session.scalar(held) is None:
            return []
        session.execute(
            update(Content)
            .where(Content.id == ref.content_id)
            .values(health="damaged")
            .execution_options(synchronize_session=False)
        )
        record(session, hub, [found])
        return [found]

    return hub.db.run(work)


def _is_blamed(session: Session, content_id: int) -> bool:
    known = select(Finding.id).where(
        Finding.kind == "damaged-content", Finding.content_id == content_id
    )
    lost = (
        select(Finding.id)
        .join(Encoding, Encoding.object_id == Finding.object_id)
        .where(
            Encoding.content_id == content_id,
            Finding.kind.in_(LOST),
        )
    )
    return session.scalar(known) is not None or session.scalars(lost).first() is not None


def _mark_file(session: Session, hub: Hub, wrong: Found) -> None:
    session.execute(update(File).where(File.id == wrong.file_id).values(health="damaged"))
    record(session, hub, [wrong])


def _unverified(since: datetime) -> ColumnElement[bool]:
    return or_(Content.last_verified_at.is_(None), Content.last_verified_at < since)
