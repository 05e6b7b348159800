"""The epoch in casUrl: what makes clients forget the xorbs they remember.

A client keeps the shards it uploaded for three weeks, per casUrl, and names their xorbs again
instead of sending bytes. When bytes behind such xorbs are deleted, the epoch moves on, casUrl
changes with it, and clients start from nothing. The account is part of casUrl too: naming a xorb is
allowed only to the account that sent it.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Instance
from app.hub import Hub
from app.signing import tag

CAS_EPOCH = "cas_epoch"


def bump_cas_epoch(session: Session) -> None:
    """Move the epoch on, in the transaction that deletes files which hold chunks of xorbs."""
    row = session.scalars(
        select(Instance).where(Instance.name == CAS_EPOCH).with_for_update()
    ).one_or_none()
    if row is None:
        session.add(Instance(name=CAS_EPOCH, value="2"))
    else:
        row.value = str(int(row.value) + 1)
    session.flush()


def cas_realm(session: Session, hub: Hub, account_id: int) -> str:
    """What follows ``/cas/`` in the casUrl of an account now: epoch and account tag."""
    epoch = session.scalar(select(Instance.value).where(Instance.name == CAS_EPOCH)) or "1"
    return f"{epoch}-{tag(hub.secret, 'cas-realm', str(account_id))}"
