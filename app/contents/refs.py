"""Where contents lie: rows of the database as plain values that a reader can hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.contents.checked import CheckedRange
from app.db.tables import Content, Encoding, FormerEncoding, Segment, StoredObject

RAW = "raw"
"""The codec of bytes that lie in their object as they are, without a frame."""

MAX_DEPTH = 4
"""Base of a base: depth is 1 by rule; a former encoding may name a base that moved on."""

_BATCH = 5_000
"""Ids in one IN list: below the parameter limit of every database."""


# Of the tables and not of their classes: for rows that are only read the ORM would double the time.
_content, _encoding, _object, _segment = (
    each.__table__ for each in (Content, Encoding, StoredObject, Segment)
)
_COLUMNS = (
    _content.c.id,
    _content.c.digest,
    _content.c.nbytes,
    _encoding.c.codec,
    _encoding.c.base_id,
    _encoding.c.object_id,
    _object.c.key,
    _encoding.c.start,
    _encoding.c.nbytes,
    _encoding.c.checks,
    _content.c.domain,
)

# Built once: for queries as small as these, building takes longer than the database.
_CURRENT = (
    select(*_COLUMNS)
    .select_from(_content)
    .join(_encoding, _encoding.c.content_id == _content.c.id)
    .join(_object, _object.c.id == _encoding.c.object_id)
)
_BY_IDS = _CURRENT.where(_content.c.id.in_(bindparam("ids", expanding=True)))
_OF_FILE = _CURRENT.where(
    _content.c.id.in_(
        select(_segment.c.content_id).where(_segment.c.file_id == bindparam("file_id"))
    )
)
_IN_FILE = (
    select(*_COLUMNS)
    .select_from(_segment)
    .join(_content, _content.c.id == _segment.c.content_id)
    .outerjoin(_encoding, _encoding.c.content_id == _content.c.id)
    .outerjoin(_object, _object.c.id == _encoding.c.object_id)
    .where(_segment.c.file_id == bindparam("file_id"))
    .order_by(_segment.c.start)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRange(CheckedRange):
    """Stored bytes of one content."""

    content_id: int
    object_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingRef(StoredRange):
    """One encoding of a content, with everything needed to read it."""

    digest: bytes
    """Content id, see ``app.digest``."""
    nbytes: int
    """Raw bytes."""
    codec: str
    """``raw`` or a frame codec."""
    base: "EncodingRef | None"
    """Encoding of the content that the frame is a delta against."""
    domain: int
    """Whose bytes they are, see ``app.accounts.domains``."""


def load_refs(session: Session, content_ids: Iterable[int]) -> dict[int, EncodingRef]:
    """Current encodings by content id, bases included; two queries per 5,000 contents.

    Contents that do not exist (any more) are absent from the answer.
    """
    wanted = sorted(set(content_ids))
    return _assemble(session, _current_rows(session, wanted), depth=MAX_DEPTH)


def load_file_refs(session: Session, file_id: int) -> dict[int, EncodingRef]:
    """Current encodings of all contents of a file by content id, in two queries."""
    rows = session.execute(_OF_FILE, {"file_id": file_id}).all()
    return _assemble(session, rows, depth=MAX_DEPTH)


def load_file_parts(session: Session, file_id: int) -> list[EncodingRef | None]:
    """Current encodings of a small file's contents in its order, in one query if none has a base.

    None stands for a content that is not stored (any more); a file that is gone has no parts.
    """
    rows = session.execute(_IN_FILE, {"file_id": file_id}).all()
    stored = _assemble(session, [row for row in rows if row.key is not None], depth=MAX_DEPTH)
    return [stored.get(row[0]) for row in rows]


def load_former_refs(session: Session, content_id: int) -> list[EncodingRef]:
    """Replaced encodings of a content whose objects are not yet collected, newest first."""
    rows = session.execute(
        select(
            Content.id,
            Content.digest,
            Content.nbytes,
            FormerEncoding.codec,
            FormerEncoding.base_id,
            FormerEncoding.object_id,
            StoredObject.key,
            FormerEncoding.start,
            FormerEncoding.nbytes,
            FormerEncoding.checks,
            Content.domain,
        )
        .join(FormerEncoding, FormerEncoding.content_id == Content.id)
        .join(StoredObject, StoredObject.id == FormerEncoding.object_id)
        .where(Content.id == content_id)
        .order_by(FormerEncoding.id.desc())
    ).all()
    bases = _load_bases(session, rows, depth=MAX_DEPTH)
    return [ref for row in rows if (ref := _ref_of(row, bases)) is not None]


def load_object_ranges(
    session: Session, object_id: int, start: int, stop: int
) -> list[StoredRange]:
    """Encodings, current or former, that lie in an object and touch ``[start, stop)``, in order."""
    ranges: dict[tuple[int, int], StoredRange] = {}
    for table in (FormerEncoding, Encoding):
        rows = session.execute(
            select(
                table.content_id,
                table.object_id,
                StoredObject.key,
                table.start,
                table.nbytes,
                table.checks,
            )
            .join(StoredObject, StoredObject.id == table.object_id)
            .where(
                table.object_id == object_id,
                table.start < stop,
                table.start + table.nbytes > start,
            )
        )
        for content_id, owner, key, first, nbytes, checks in rows:
            ranges[first, nbytes] = StoredRange(
                content_id=content_id,
                object_id=owner,
                key=key,
                start=first,
                stored_nbytes=nbytes,
                checks=checks,
            )
    return [ranges[place] for place in sorted(ranges)]


def _current_rows(session: Session, content_ids: list[int]) -> list[Any]:
    rows: list[Any] = []
    for at in range(0, len(content_ids), _BATCH):
        batch = content_ids[at : at + _BATCH]
        rows += session.execute(_BY_IDS, {"ids": batch}).all()
    return rows


def _assemble(session: Session, rows: Iterable[Any], *, depth: int) -> dict[int, EncodingRef]:
    rows = list(rows)
    bases = _load_bases(session, rows, depth=depth)
    return {row[0]: ref for row in rows if (ref := _ref_of(row, bases)) is not None}


def _load_bases(session: Session, rows: Iterable[Any], *, depth: int) -> dict[int, EncodingRef]:
    base_ids = sorted({row[4] for row in rows if row[4] is not None})
    if not base_ids or depth == 0:
        return {}
    return _assemble(session, _current_rows(session, base_ids), depth=depth - 1)


def _ref_of(row: Any, bases: dict[int, EncodingRef]) -> EncodingRef | None:
    """None when the base that the row names is gone: such an encoding cannot be read."""
    content_id, digest, nbytes, codec, base_id, object_id, key, start, stored, checks, domain = row
    if base_id is not None and base_id not in bases:
        return None
    return EncodingRef(
        content_id=content_id,
        digest=digest,
        nbytes=nbytes,
        codec=codec,
        base=None if base_id is None else bases[base_id],
        object_id=object_id,
        key=key,
        start=start,
        stored_nbytes=stored,
        checks=checks,
        domain=domain,
    )
