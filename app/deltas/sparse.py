"""Objects of which too little is in use: they can only be deleted as a whole."""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Encoding, StoredObject
from app.hub import Hub
from app.jobs.outbox import enqueue

REPACK_SHARE = 0.8
"""An object of which less than this share is in use is packed anew."""


def owe_repacking(session: Session, hub: Hub, object_ids: Collection[int]) -> None:
    """Queue a job for live objects of which too little is left; not while the encoder is at it."""
    rows = session.execute(
        select(
            StoredObject.id,
            StoredObject.nbytes,
            func.sum(Encoding.nbytes),
            func.count().filter(Encoding.final.is_(False)),
        )
        .join(Encoding, Encoding.object_id == StoredObject.id)
        .where(StoredObject.id.in_(object_ids), StoredObject.state == "live")
        .group_by(StoredObject.id, StoredObject.nbytes)
    ).all()
    for object_id, nbytes, used_nbytes, waiting in rows:
        if not waiting and is_sparse(nbytes, used_nbytes):
            key = f"object:{object_id}"
            enqueue(session, hub, "repack", key=key, payload={"object_id": object_id}, priority=20)


def is_sparse(nbytes: int, used_nbytes: int) -> bool:
    """Whether so little of an object is in use that what is left is packed anew."""
    return used_nbytes < nbytes * REPACK_SHARE
