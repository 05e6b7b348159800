"""Locks on contents, taken in one order everywhere: by digest, as uploads meet them.

An upload knows digests before it knows rows, so any other order would make uploads and encoders
wait for one another in a circle.
"""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.inserting import batches
from app.db.tables import Content


def lock_contents(session: Session, content_ids: Collection[int], *, shared: bool = False) -> None:
    """Lock those contents that exist until the transaction ends.

    Look at them in a later statement: on PostgreSQL this one may see the past of its locks.
    ``shared``: only against their removal.
    """
    known = {
        content_id: digest
        for ids in batches(sorted(content_ids))
        for content_id, digest in session.execute(
            select(Content.id, Content.digest).where(Content.id.in_(ids))
        )
    }
    for ids in batches(sorted(known, key=known.__getitem__)):
        rows = select(Content.id).where(Content.id.in_(ids)).order_by(Content.digest)
        session.execute(rows.with_for_update(read=shared, key_share=shared)).all()
