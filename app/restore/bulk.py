"""Small files as a whole: one in a query and a request to the store, many in not many more."""

from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, select

from app.contents.reading import read_whole
from app.contents.refs import EncodingRef, load_file_parts, load_refs
from app.db.inserting import batches
from app.db.tables import Segment
from app.errors import Damaged, EntryNotFound
from app.hub import Hub

NOT_STORED = "a part of the file is not stored; upload the file again"

_SEGMENTS = (
    select(Segment.file_id, Segment.content_id)
    .where(Segment.file_id.in_(bindparam("ids", expanding=True)))
    .order_by(Segment.file_id, Segment.start)
)


def read_file(hub: Hub, file_id: int, nbytes: int) -> bytes:
    """The bytes of one file of this size. Raises EntryNotFound if it is gone, else as below."""
    with hub.db.read() as session:
        parts = load_file_parts(session, file_id)
    return join_parts(hub, parts, nbytes)


def join_parts(hub: Hub, parts: Sequence[EncodingRef | None], nbytes: int) -> bytes:
    """The bytes of the file that consists of these parts. Raises as :func:`read_file`."""
    refs = [ref for ref in parts if ref is not None]
    if len(refs) < len(parts):
        raise Damaged(NOT_STORED)
    if sum(ref.nbytes for ref in refs) != nbytes:
        raise EntryNotFound("the file does not exist any more")
    return b"".join(read_whole(hub, refs))


def read_files(hub: Hub, file_ids: Collection[int]) -> dict[int, bytes]:
    """The bytes of files by id, all in memory: the caller bounds their sum.

    Every content is checked against its digest. Raises Damaged or StoreUnavailable as
    :func:`~app.contents.reading.read_whole` does.
    """
    parts: dict[int, list[int]] = {file_id: [] for file_id in file_ids}
    with hub.db.read() as session:
        for some in batches(sorted(parts)):
            for file_id, content_id in session.execute(_SEGMENTS, {"ids": some}):
                parts[file_id].append(content_id)
        refs = load_refs(session, {content_id for ids in parts.values() for content_id in ids})
    if any(content_id not in refs for ids in parts.values() for content_id in ids):
        raise Damaged(NOT_STORED)
    ids = sorted(refs)
    contents = dict(zip(ids, read_whole(hub, [refs[id_] for id_ in ids]), strict=True))
    return {file_id: b"".join(contents[id_] for id_ in ids) for file_id, ids in parts.items()}
