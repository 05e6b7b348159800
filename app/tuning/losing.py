"""Trainers that are gone: what they held is free, and goes on from its last checkpoint."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import TuningJob, TuningLease
from app.hub import Hub
from app.tuning.fencing import release
from app.tuning.states import move, tell


def lose(session: Session, hub: Hub, job: TuningJob, lease: TuningLease) -> None:
    """End a claim, its lease and job locked, whose holder will not."""
    lease.attempts += 1
    release(session, hub, lease)
    if job.status == "running":
        move(hub, job, "queued")
    tell(session, hub, job, "The trainer was lost; the job goes on from its last checkpoint")


def lose_all(hub: Hub, holder: str) -> int:
    """End all claims of a process that is known to be dead; how many there were.

    The caller's word is believed: who says so of one that lives takes its jobs from it, and nothing
    that it writes counts any more. May be said again: it may have asked for a job in its last
    moment.
    """
    held = select(TuningLease.job_id).where(
        TuningLease.until.is_not(None), TuningLease.holder == holder
    )
    with hub.db.read() as session:
        job_ids = session.scalars(held).all()

    def end(session: Session, job_id: int) -> bool:
        lease = session.get(TuningLease, job_id, with_for_update=True)
        if lease is None or lease.holder != holder:
            return False
        lose(session, hub, session.get_one(TuningJob, job_id, populate_existing=True), lease)
        return True

    return sum(hub.db.run(lambda session, one=each: end(session, one)) for each in job_ids)
