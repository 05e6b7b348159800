"""The fence: whoever writes for a job shows the number of his claim, checked under its row's lock.

A claim, and whatever ends one, makes the number larger. So a trainer that was slow, suspended or
taken for dead records and publishes nothing once the job is another's, or nobody's. The token that
it acts with ends with the claim as well.
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.tables import AccessToken, TuningJob, TuningLease
from app.errors import LeaseLost
from app.hub import Hub
from app.tuning.naming import is_name


def fenced(
    session: Session, hub: Hub, name: str, fence: int, *, renewing: bool = False
) -> tuple[TuningJob, TuningLease]:
    """The job, its row and its lease's locked, if ``fence`` is that of the claim that holds it.

    ``renewing``: a claim that ran out and that nobody took over counts, too. Raises LeaseLost.
    """
    known = select(TuningJob.id).where(TuningJob.name == name)
    found = session.scalar(known) if is_name(name, "ftjob") else None
    lease = None if found is None else session.get(TuningLease, found, with_for_update=True)
    if found is None or lease is None or lease.holder is None or lease.fence != fence:
        raise LeaseLost(f"{name[:64]} is not yours any more")
    if not renewing and not is_held(hub, lease):
        raise LeaseLost(f"{name[:64]}: the lease ran out; report first")
    return session.get_one(TuningJob, found, populate_existing=True), lease


def is_held(hub: Hub, lease: TuningLease) -> bool:
    """Whether somebody has the job now."""
    return lease.holder is not None and lease.until is not None and lease.until > hub.clock.now()


def extend(session: Session, hub: Hub, lease: TuningLease) -> None:
    """The holder is alive: lease and token last from now on."""
    lease.until = hub.clock.now() + timedelta(seconds=hub.settings.timers.tuning_lease_s)
    if lease.token_id is not None:
        session.execute(
            update(AccessToken)
            .where(AccessToken.id == lease.token_id)
            .values(expires_at=lease.until)
            .execution_options(synchronize_session=False)
        )


def release(session: Session, hub: Hub, lease: TuningLease) -> None:
    """Nobody has the job from now on."""
    lease.fence += 1
    lease.holder = lease.until = None
    revoke(session, hub, lease)


def revoke(session: Session, hub: Hub, lease: TuningLease) -> None:
    """End the token of a claim."""
    if lease.token_id is not None:
        session.execute(
            update(AccessToken)
            .where(AccessToken.id == lease.token_id)
            .values(revoked_at=hub.clock.now())
            .execution_options(synchronize_session=False)
        )
        lease.token_id = None
