"""Whether a stored object is as it should be: read whole, held against all who have bytes in it.

These are encodings, current and replaced, the chunks of xorbs and the parts of multipart uploads.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import merge
from typing import NamedTuple

import numpy as np
import structlog
from blake3 import blake3
from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from app.contents.findings import Found, clear, record
from app.contents.inspecting import Claim, confirmed, in_order, piece_claims, refuted, windows
from app.db.inserting import batches
from app.db.tables import (
    AwaitedPart,
    Content,
    Encoding,
    FormerEncoding,
    LfsPart,
    StoredObject,
    Xorb,
)
from app.hub import Hub
from app.store.contract import ObjectMissing, StoreUnavailable
from app.xet.hashing import DATA_KEY
from app.xet.xorb import TABLE

PAGE = 20_000
"""Rows of claims in memory at once."""

OF_OBJECTS = ("lost-object", "unreadable-object", "damaged-xorb", "damaged-part", "damaged-spare")
"""Kinds of findings that a look at the object settles."""

log = structlog.get_logger(__name__)


class Inspected(NamedTuple):
    """A row of the object table to look at."""

    id: int
    key: str
    nbytes: int


def inspect_object(hub: Hub, row: Inspected) -> list[Found]:
    """What is wrong with an object; what fails is read twice before it is blamed.

    Raises StoreUnavailable when the store does not answer for it: then nothing is known.
    """
    stat = hub.store.stat(row.key)
    if stat is None or stat.nbytes != row.nbytes:
        return _lost(row, None if stat is None else stat.nbytes)
    try:
        failed = refuted(windows(hub, row.key, row.nbytes), claims_on(hub, row))
        failed = confirmed(hub, row.key, failed)
    except ObjectMissing:
        return _lost(row, None)
    return list(dict.fromkeys(claim.owner for claim in failed))


def lost(hub: Hub, row: Inspected) -> list[Found]:
    """The finding that an object is lost, if it is: by a look at its size alone."""
    stat = hub.store.stat(row.key)
    if stat is not None and stat.nbytes == row.nbytes:
        return []
    return _lost(row, None if stat is None else stat.nbytes)


def settle(hub: Hub, row: Inspected, found: Sequence[Found], *, read: bool) -> list[Found]:
    """Enter what a look at an object found; what of it is so still, now that the row is locked.

    Contents whose current encoding it is are marked damaged, so that nobody relies on them and the
    next upload of the same bytes heals them. With ``read`` every byte was looked at.
    """

    def work(session: Session) -> list[Found]:
        stored = session.get(StoredObject, row.id, with_for_update=True)
        if stored is None or stored.state == "pending":
            return []
        here = {each.content_id for each in found if each.kind == "damaged-content"}
        if any(each.kind == "lost-object" for each in found):
            if stored.state != "live":
                return []
            damaged = set(
                session.scalars(select(Encoding.content_id).where(Encoding.object_id == row.id))
            )
        else:
            damaged = _still_here(session, row.id, here)
        _mark(session, damaged)
        true = [each for each in found if each.content_id not in here - damaged]
        record(session, hub, true)
        gone = set(OF_OBJECTS if read else ("lost-object",)) - {each.kind for each in true}
        clear(session, gone, [f"object:{row.key}"])
        if read:
            stored.verified_at = hub.clock.now()
        return true

    true = hub.db.run(work)
    for each in true:
        log.error("finding", kind=each.kind, subject=each.subject, detail=each.detail)
    return true


def settle_sound(hub: Hub, rows: Sequence[Inspected]) -> None:
    """Note that objects were read and are as they should be."""

    def work(session: Session) -> None:
        session.execute(
            update(StoredObject)
            .where(StoredObject.id.in_([row.id for row in rows]))
            .values(verified_at=hub.clock.now())
            .execution_options(synchronize_session=False)
        )
        clear(session, OF_OBJECTS, [f"object:{row.key}" for row in rows])

    if rows:
        hub.db.run(work)


def unreadable(row: Inspected, error: StoreUnavailable) -> Found:
    """The finding that the store serves others but not this object."""
    detail = f"object {row.key} cannot be read: {error.message}"
    return Found("unreadable-object", detail, object_id=row.id, key=row.key)


def _lost(row: Inspected, nbytes: int | None) -> list[Found]:
    what = "missing" if nbytes is None else f"{nbytes} instead of {row.nbytes} bytes long"
    return [Found("lost-object", f"object {row.key} is {what}", object_id=row.id, key=row.key)]


def claims_on(hub: Hub, row: Inspected) -> Iterator[Claim[Found]]:
    """All claims on the object in order of start."""
    current = in_order(
        piece_claims(_content_damage("damaged-content", row, content), start, nbytes, checks)
        for content, start, nbytes, checks in _encodings(hub, Encoding, row.id)
    )
    spares = in_order(
        piece_claims(_content_damage("damaged-spare", row, content), start, nbytes, checks)
        for content, start, nbytes, checks in _encodings(hub, FormerEncoding, row.id)
    )
    others = (sorted(each, key=_start) for each in (_xorb_claims(hub, row), _part_claims(hub, row)))
    return merge(current, spares, *others, key=_start)


def _start(claim: Claim[Found]) -> int:
    return claim.start


def _encodings(
    hub: Hub, table: type[Encoding] | type[FormerEncoding], object_id: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """(content, start, stored bytes, checks) of what lies in an object, by start, in pages."""
    last = (-1, 0)
    while True:
        with hub.db.read() as session:
            page = session.execute(
                select(table.content_id, table.start, table.nbytes, table.checks, table.id)
                .where(table.object_id == object_id, tuple_(table.start, table.id) > last)
                .order_by(table.start, table.id)
                .limit(PAGE)
            ).all()
        for content, start, nbytes, checks, _id in page:
            yield content, start, nbytes, checks
        if len(page) < PAGE:
            return
        last = (page[-1].start, page[-1].id)


def _content_damage(kind: str, row: Inspected, content_id: int) -> Found:
    detail = f"stored bytes in object {row.key} fail their checks"
    if kind == "damaged-spare":
        return Found(kind, f"a spare copy: {detail}", object_id=row.id, key=row.key)
    return Found(kind, detail, content_id=content_id)


def _xorb_claims(hub: Hub, row: Inspected) -> Iterator[Claim[Found]]:
    with hub.db.read() as session:
        tables = session.scalars(select(Xorb.chunks).where(Xorb.object_id == row.id)).all()
    detail = f"chunks of an upload in object {row.key} fail their digests"
    owner = Found("damaged-xorb", detail, object_id=row.id, key=row.key)
    keyed = partial(blake3, key=DATA_KEY)
    for chunks in tables:
        for digest, offset, nbytes in np.frombuffer(chunks, TABLE).tolist():
            yield Claim(offset, offset + nbytes, bytes(digest), owner, keyed)


def _part_claims(hub: Hub, row: Inspected) -> Iterator[Claim[Found]]:
    with hub.db.read() as session:
        parts = session.execute(
            select(LfsPart.etag, LfsPart.nbytes).where(LfsPart.object_id == row.id)
        ).all()
        fetched = session.execute(
            select(AwaitedPart.digest, AwaitedPart.nbytes).where(AwaitedPart.object_id == row.id)
        ).all()
    detail = f"a part of a file on its way here, in object {row.key}, fails its digest"
    owner = Found("damaged-part", detail, object_id=row.id, key=row.key)
    for etag, nbytes in parts:
        yield Claim(0, nbytes, bytes.fromhex(etag), owner)
    for digest, nbytes in fetched:
        yield Claim(0, nbytes, digest, owner)


def _still_here(session: Session, object_id: int, contents: set[int | None]) -> set[int]:
    found: set[int] = set()
    for ids in batches(sorted(each for each in contents if each is not None)):
        found.update(
            session.scalars(
                select(Encoding.content_id).where(
                    Encoding.content_id.in_(ids), Encoding.object_id == object_id
                )
            )
        )
    return found


def _mark(session: Session, content_ids: set[int]) -> None:
    for ids in batches(sorted(content_ids)):
        session.execute(
            update(Content)
            .where(Content.id.in_(ids), Content.health != "damaged")
            .values(health="damaged")
            .execution_options(synchronize_session=False)
        )
