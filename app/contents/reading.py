"""Verified reads: no byte leaves here that was not checked against the database.

Stored bytes are read in pieces of 1 MiB whose BLAKE3 checks the database holds, so rot, truncation
and swapped objects are noticed before anything is decoded (reliability: read protocol, R1-R4).
A reader holds refs that may age: when an object is gone the refs are loaded again, because the
content may have been encoded anew meanwhile; its bytes are the same by definition.
"""

from collections.abc import Sequence

import structlog
from blake3 import blake3
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.contents import frames
from app.contents.checked import fetch, is_intact, read_checked
from app.contents.findings import Found, record
from app.contents.refs import (
    RAW,
    EncodingRef,
    StoredRange,
    load_former_refs,
    load_object_ranges,
    load_refs,
)
from app.db.tables import Content, Encoding
from app.digest import content_id, format_content_id
from app.errors import Damaged
from app.hub import Hub
from app.store.contract import ObjectMissing

__all__ = [
    "RAW",
    "EncodingRef",
    "StoredRange",
    "is_whole",
    "load_object_ranges",
    "load_refs",
    "mark_damaged",
    "read_content",
    "read_runs",
    "read_stored",
    "read_whole",
]

MAX_RELOADS = 5
"""How often one read follows a content to a new encoding."""

RUN_NBYTES = 16 << 20
"""Largest store request that covers several encodings."""

RUN_GAP_NBYTES = 64 << 10
"""Bytes between two encodings that are cheaper to read than to skip."""

_PLAIN = {"synchronize_session": False}

log = structlog.get_logger(__name__)


def read_stored(hub: Hub, ref: StoredRange, start: int, stop: int) -> memoryview:
    """Stored bytes ``[start, stop)`` of an encoding, counted from its start, verified.

    Raises what :func:`~app.contents.checked.read_checked` does; a damaged content is marked then.
    """
    try:
        return read_checked(hub, ref, start, stop)
    except Damaged:
        mark_damaged(hub, ref, "stored bytes fail their checks")
        raise _damaged(ref) from None


def read_content(hub: Hub, ref: EncodingRef, start: int, stop: int) -> memoryview:
    """Raw bytes ``[start, stop)`` of a content; only the blocks touched are read and decoded.

    Follows the content to its present encoding if the object is gone, and to a former one if stored
    bytes are damaged. Raises :class:`Damaged` when no copy is readable, StoreUnavailable when the
    store does not answer.
    """
    for _ in range(MAX_RELOADS):
        try:
            return _decode(hub, ref, start, stop)
        except (ObjectMissing, Damaged) as fault:
            fresh = _reload(hub, ref)
            if fresh is None or (fresh.key, fresh.start) == (ref.key, ref.start):
                if isinstance(fault, ObjectMissing):
                    mark_damaged(hub, ref, "stored object is missing")
                break
            ref = fresh
    return _read_former(hub, ref, start, stop)


def read_whole(hub: Hub, refs: Sequence[EncodingRef]) -> list[memoryview]:
    """Raw bytes of whole contents, in the order of ``refs``, each checked against its digest.

    Encodings that lie close together in one object are read in one store request, so this is the
    way to read many small contents. Raises as :func:`read_content` does.
    """
    stored = read_runs(hub, [part for ref in refs for part in (ref, ref.base) if part is not None])
    return [_whole(hub, ref, stored) for ref in refs]


def read_runs(hub: Hub, parts: Sequence[StoredRange]) -> dict[tuple[str, int], memoryview]:
    """Verified stored bytes of whole encodings by (key, start), close ones in one request.

    What is missing or fails its checks is left out: :func:`read_stored` knows what to do then.
    """
    unique = {(part.key, part.start): part for part in parts}
    found: dict[tuple[str, int], memoryview] = {}
    run: list[StoredRange] = []
    for place in sorted(unique):
        part = unique[place]
        if run and not _extends(run, part):
            found.update(_read_run(hub, run))
            run = []
        run.append(part)
    if run:
        found.update(_read_run(hub, run))
    return found


def is_whole(ref: EncodingRef, data: memoryview) -> bool:
    """Whether ``data`` is the content that ``ref`` names."""
    return len(data) == ref.nbytes and content_id(blake3(data).digest()) == ref.digest


def mark_damaged(hub: Hub, ref: StoredRange, fault: str) -> None:
    """Record that a content is stored badly, so that a re-upload or fsck heals it.

    Only the present encoding counts: a former one is a spare copy whose loss harms nobody.
    """
    log.error("damaged content", content=ref.content_id, key=ref.key, start=ref.start, fault=fault)
    stored_here = select(Encoding.content_id).where(
        Encoding.content_id == ref.content_id,
        Encoding.object_id == ref.object_id,
        Encoding.start == ref.start,
    )
    mark = update(Content).where(Content.id.in_(stored_here)).values(health="damaged")
    found = Found("damaged-content", fault, content_id=ref.content_id)

    def work(session: Session) -> None:
        if session.execute(mark.returning(Content.id), execution_options=_PLAIN).first():
            record(session, hub, [found])

    hub.db.run(work)


def _decode(hub: Hub, ref: EncodingRef, start: int, stop: int) -> memoryview:
    if ref.codec == RAW:
        return read_stored(hub, ref, start, stop)
    if start == stop:
        return memoryview(b"")
    try:
        head = frames.head_of(ref, lambda begin, end: read_stored(hub, ref, begin, end))
        span = frames.span_of(head, start, stop)
        stored = read_stored(hub, ref, *span.stored)
        base = None if ref.base is None else read_content(hub, ref.base, *span.base)
        return frames.cut(head, span, frames.decode_span(head, span, stored, base), start, stop)
    except frames.BadFrame as error:
        mark_damaged(hub, ref, str(error))
        raise _damaged(ref) from error


def _reload(hub: Hub, ref: EncodingRef) -> EncodingRef | None:
    with hub.db.read() as session:
        return load_refs(session, [ref.content_id]).get(ref.content_id)


def _read_former(hub: Hub, ref: EncodingRef, start: int, stop: int) -> memoryview:
    """The same bytes from a replaced encoding; checked as a whole where a whole is wanted."""
    with hub.db.read() as session:
        former = load_former_refs(session, ref.content_id)
    for spare in former:
        try:
            data = _decode(hub, spare, start, stop)
        except (ObjectMissing, Damaged):
            continue
        if (start, stop) == (0, ref.nbytes) and not is_whole(ref, data):
            continue
        log.warning("read from a former encoding", content=ref.content_id, key=spare.key)
        return data
    raise _damaged(ref)


def _whole(hub: Hub, ref: EncodingRef, stored: dict[tuple[str, int], memoryview]) -> memoryview:
    """One content out of what was read already; anything unusual takes the careful way."""
    mine = stored.get((ref.key, ref.start))
    bases = None if ref.base is None else stored.get((ref.base.key, ref.base.start))
    try:
        if mine is not None and (ref.base is None or bases is not None):
            base = None if ref.base is None or bases is None else frames.unpack(ref.base, bases)
            data = frames.unpack(ref, mine, base)
            if is_whole(ref, data):
                return data
    except frames.BadFrame as error:
        log.warning("frame does not decode", content=ref.content_id, fault=str(error))
    data = read_content(hub, ref, 0, ref.nbytes)
    if is_whole(ref, data):
        return data
    mark_damaged(hub, ref, "decoded bytes fail the digest")
    return _read_former(hub, ref, 0, ref.nbytes)


def _extends(run: list[StoredRange], part: StoredRange) -> bool:
    end = run[-1].start + run[-1].stored_nbytes
    return (
        run[0].key == part.key
        and part.start - end <= RUN_GAP_NBYTES
        and part.start + part.stored_nbytes - run[0].start <= RUN_NBYTES
    )


def _read_run(hub: Hub, run: list[StoredRange]) -> dict[tuple[str, int], memoryview]:
    start = run[0].start
    stop = max(part.start + part.stored_nbytes for part in run)
    try:
        data = fetch(hub, run[0].key, start, stop)
    except ObjectMissing:
        return {}
    if data is None:
        return {}
    views = {
        (part.key, part.start): data[part.start - start : part.start - start + part.stored_nbytes]
        for part in run
    }
    return {
        (part.key, part.start): views[part.key, part.start]
        for part in run
        if is_intact(part, 0, views[part.key, part.start])
    }


def _damaged(ref: StoredRange) -> Damaged:
    name = format_content_id(ref.digest) if isinstance(ref, EncodingRef) else ref.content_id
    return Damaged(f"stored bytes of content {name} are damaged and no other copy is at hand")
