"""The xorbs that an account has sent: stored until files hold all their chunks.

A row belongs to one account, because naming a xorb is allowed to who sent its bytes and to nobody
else: that is Xet's form of proof of possession.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.db.inserting import upsert
from app.db.tables import StoredObject, Xorb
from app.errors import ContentNotFound
from app.hub import Hub
from app.xet import terms
from app.xet.epoch import bump_cas_epoch
from app.xet.hashing import format_digest
from app.xet.xorb import TABLE, XorbReader


@dataclass(frozen=True, slots=True)
class StagedXorb:
    """A xorb as rows of one moment: its chunks, where it is stored, what files hold of it."""

    id: int
    table: np.ndarray
    """Rows of :data:`app.xet.xorb.TABLE`."""
    object_id: int | None
    """Object of the raw chunks; None once they were dropped."""
    key: str | None
    """Its key."""
    stored_nbytes: int
    holders: tuple[terms.Holder, ...]

    def stored_range(self, start: int, stop: int) -> tuple[int, int]:
        """Offsets in the object of chunks ``[start, stop)``."""
        last = len(self.table)
        end = self.stored_nbytes if stop == last else int(self.table["offset"][stop])
        return int(self.table["offset"][start]), end


def has_xorb(hub: Hub, account_id: int, digest: bytes) -> bool:
    """Whether the account need not send this xorb (again)."""
    with hub.db.read() as session:
        row = _find(session, account_id, digest)
        return row is not None and _is_resolvable(session, row)


def store_xorb(hub: Hub, account_id: int, digest: bytes, buffers: Iterable[bytes]) -> bool:
    """Check a xorb while it is stored, then enter it; False if the account had it already.

    Raises :class:`app.xet.xorb.XorbInvalid` or LimitExceeded for a xorb that is not what was
    announced; nothing is left behind then.
    """
    pending = objects.begin(hub, "xorb")
    reader = XorbReader(digest, hub.settings.limits)
    try:
        nbytes = hub.store.put(pending.key, reader.read(buffers))
        inserted = hub.db.run(
            lambda session: _enter(
                session, hub, account_id, digest, reader.table(), pending, nbytes
            )
        )
    except BaseException:
        objects.abandon(hub, pending)
        raise
    if not inserted:
        objects.abandon(hub, pending)
    return inserted


def forget_xorb(hub: Hub, xorb_id: int) -> None:
    """Drop a xorb whose stored bytes turned out damaged, so that clients send it again."""

    def work(session: Session) -> None:
        row = session.get(Xorb, xorb_id, with_for_update=True)
        if row is None:
            return
        held = [row.object_id] if row.object_id is not None else []
        session.execute(delete(Xorb).where(Xorb.id == xorb_id))
        objects.retire_unreferenced(session, hub, held)
        bump_cas_epoch(session)

    hub.db.run(work)


def load_xorb(session: Session, account_id: int, digest: bytes) -> StagedXorb:
    """A xorb of the account. Raises ContentNotFound if its bytes are not (or no longer) here."""
    row = _find(session, account_id, digest)
    if row is None or not _is_resolvable(session, row):
        raise ContentNotFound(f"xorb {format_digest(digest)} is not stored here; upload it first")
    key, nbytes = None, 0
    if row.object_id is not None:
        key, nbytes = session.execute(
            select(StoredObject.key, StoredObject.nbytes).where(StoredObject.id == row.object_id)
        ).one()
    return StagedXorb(
        id=row.id,
        object_id=row.object_id,
        table=np.frombuffer(row.chunks, TABLE),
        key=key,
        stored_nbytes=nbytes,
        holders=terms.holders_of(session, row.id),
    )


def _find(session: Session, account_id: int, digest: bytes, *, lock: bool = False) -> Xorb | None:
    query = select(Xorb).where(Xorb.digest == digest, Xorb.account_id == account_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def _is_resolvable(session: Session, row: Xorb) -> bool:
    return row.object_id is not None or terms.all_held(session, row)


def _enter(
    session: Session,
    hub: Hub,
    account_id: int,
    digest: bytes,
    table: bytes,
    pending: objects.PendingObject,
    nbytes: int,
) -> bool:
    # Two uploads of one xorb meet at the unique key: the second waits for the first here.
    session.execute(
        upsert(session, Xorb)
        .values(
            digest=digest,
            account_id=account_id,
            object_id=None,
            chunks=table,
            created_at=hub.clock.now(),
        )
        .on_conflict_do_nothing()
    )
    row = _find(session, account_id, digest, lock=True)
    assert row is not None
    if row.object_id is not None:
        return False
    objects.publish(session, pending, nbytes)
    row.object_id = pending.id
    row.chunks = table
    return True
