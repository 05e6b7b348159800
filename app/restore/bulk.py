"""Many small files at once: three queries and few requests to the store for all of them."""

from collections.abc import Collection

from sqlalchemy import bindparam, select

from app.contents.reading import read_whole
from app.contents.refs import load_refs
from app.db.inserting import batches
from app.db.tables import Segment
from app.errors import Damaged, EntryNotFound
from app.hub import Hub

_SEGMENTS = (
    select(Segment.file_id, Segment.content_id)
    .where(Segment.file_id.in_(bindparam("ids", expanding=True)))
    .order_by(Segment.file_id, Segment.start)
)


def read_file(hub: Hub, file_id: int, nbytes: int) -> bytes:
    """The bytes of one file of this size. Raises EntryNotFound if it is gone, else as below."""
    data = read_files(hub, [file_id])[file_id]
    if len(data) != nbytes:
        raise EntryNotFound("the file does not exist any more")
    return data


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
        raise Damaged("a part of a file is not stored; upload the file again")
    ids = sorted(refs)
    contents = dict(zip(ids, read_whole(hub, [refs[id_] for id_ in ids]), strict=True))
    return {file_id: b"".join(contents[id_] for id_ in ids) for file_id, ids in parts.items()}
