"""Who runs a job: claimed by lease, fenced by the claim's own name, given back or finished.

A claim's name (``lease_owner``) is fresh for every claim. Renewing, finishing and giving back need
it to be still in the row, so a runner that was slow, suspended or taken for dead can change nothing
once somebody else has the job.
"""

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, select, true, update
from sqlalchemy.orm import Session

from app.db.instants import is_over
from app.db.tables import Job
from app.errors import Conflict
from app.hub import Hub

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 600.0
"""A failed job waits 2 s, 4 s, 8 s … at most ten minutes."""


class JobLost(Conflict):
    """The lease ran out and the job is somebody else's now: stop, publish nothing."""

    transient = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours until ``lease_until``, longer if renewed."""

    job_id: int
    kind: str
    payload: dict[str, Any]
    attempt: int
    owner: str
    lease_until: datetime


def claim_next(hub: Hub, owner: str, kinds: Collection[str] | None = None) -> Claim | None:
    """Lease the most urgent job, of these kinds if any are given, that may run now; None: none."""
    of_kinds = true() if kinds is None else Job.kind.in_(sorted(kinds))

    def work(session: Session) -> Claim | None:
        for candidates in (_is_expired(hub), _is_due(hub)):
            first = select(Job).where(candidates, of_kinds).order_by(Job.priority, Job.id).limit(1)
            # An expired job that has no attempts left is failed, and the next one looked at.
            while (
                job := session.scalars(first.with_for_update(skip_locked=True)).first()
            ) is not None:
                if claim := _take(hub, session, job, owner):
                    return claim
        return None

    with hub.db.read() as session:  # a write transaction on SQLite would stop all other writers
        if not session.execute(_claimable_ids(hub).where(of_kinds).limit(1)).first():
            return None
    return hub.db.run(work)


def claim_one(hub: Hub, job_id: int, owner: str) -> Claim | None:
    """Lease this job; None if it is done, running elsewhere, waiting for its time or unknown."""

    def work(session: Session) -> Claim | None:
        claimable = select(Job).where(Job.id == job_id, _is_due(hub) | _is_expired(hub))
        job = session.scalars(claimable.with_for_update(skip_locked=True)).first()
        return None if job is None else _take(hub, session, job, owner)

    return hub.db.run(work)


def wait_s(hub: Hub, job_id: int) -> float:
    """Seconds until this queued job may run; 0 if it may now, or is not queued."""
    with hub.db.read() as session:
        waits = select(Job.run_after).where(Job.id == job_id, Job.state == "queued", ~_is_due(hub))
        run_after = session.scalar(waits)
    if run_after is None:
        return 0.0
    return max(0.0, (run_after - hub.clock.now()).total_seconds())


def renew(hub: Hub, claim: Claim, progress: tuple[int, int]) -> datetime:
    """Extend the lease and record progress; the new end. Raises :class:`JobLost`."""
    done, total = progress
    until = hub.clock.now() + timedelta(seconds=hub.settings.timers.job_lease_s)
    _change(hub, claim, lease_until=until, progress_done=done, progress_total=total)
    return until


def finish(hub: Hub, claim: Claim, progress: tuple[int, int]) -> None:
    """The job is done. Raises :class:`JobLost`."""
    done, total = progress
    _change(
        hub,
        claim,
        state="done",
        error=None,
        lease_owner=None,
        lease_until=None,
        progress_done=done,
        progress_total=total,
        finished_at=hub.clock.now(),
    )


def give_back(hub: Hub, claim: Claim) -> None:
    """Queue the job again as if this attempt had not been. Raises :class:`JobLost`."""
    _change(
        hub,
        claim,
        state="queued",
        attempts=claim.attempt - 1,
        lease_owner=None,
        lease_until=None,
    )


def fail(hub: Hub, claim: Claim, error: str, *, transient: bool = False) -> None:
    """Queue the job again after a wait, or give it up for good. Raises :class:`JobLost`.

    ``transient``: not the job is to blame but something that was away; never given up.
    """
    now = hub.clock.now()
    if claim.attempt >= hub.settings.jobs.max_attempts and not transient:
        _change(
            hub,
            claim,
            state="failed",
            error=error,
            lease_owner=None,
            lease_until=None,
            finished_at=now,
        )
        return
    wait_s = min(FIRST_WAIT_S * 2 ** (claim.attempt - 1), LONGEST_WAIT_S)
    _change(
        hub,
        claim,
        state="queued",
        attempts=min(claim.attempt, hub.settings.jobs.max_attempts - 1),
        error=error,
        run_after=now + timedelta(seconds=wait_s),
        lease_owner=None,
        lease_until=None,
    )


def claimable_ids(hub: Hub, limit: int) -> list[int]:
    """Ids of jobs that a runner could claim now, most urgent first."""
    with hub.db.read() as session:
        return list(
            session.scalars(_claimable_ids(hub).order_by(Job.priority, Job.id).limit(limit))
        )


def _claimable_ids(hub: Hub) -> Any:
    return select(Job.id).where(_is_due(hub) | _is_expired(hub))


def _is_due(hub: Hub) -> ColumnElement[bool]:
    """Queued, and its wait is over."""
    return (Job.state == "queued") & is_over(Job.run_after, hub.clock.now(), LONGEST_WAIT_S)


def _is_expired(hub: Hub) -> ColumnElement[bool]:
    """Running, as far as anybody knows, but its lease is over."""
    longest_s = hub.settings.timers.job_lease_s
    return (Job.state == "running") & is_over(Job.lease_until, hub.clock.now(), longest_s)


def _take(hub: Hub, session: Session, job: Job, owner: str) -> Claim | None:
    """Lease a locked row; fail it instead if it used up its attempts by killing its runners."""
    now = hub.clock.now()
    if job.attempts >= hub.settings.jobs.max_attempts:
        job.state = "failed"
        job.error = job.error or f"the runner died in each of {job.attempts} attempts"
        job.lease_owner = job.lease_until = None
        job.finished_at = now
        session.flush()
        return None
    claim = Claim(
        job_id=job.id,
        kind=job.kind,
        payload=json.loads(job.payload),
        attempt=job.attempts + 1,
        owner=f"{owner[:40]}/{uuid.uuid4().hex[:16]}",
        lease_until=now + timedelta(seconds=hub.settings.timers.job_lease_s),
    )
    job.state = "running"
    job.attempts = claim.attempt
    job.lease_owner = claim.owner
    job.lease_until = claim.lease_until
    return claim


def _change(hub: Hub, claim: Claim, **values: object) -> None:
    def work(session: Session) -> int:
        result = session.execute(
            update(Job)
            .where(
                Job.id == claim.job_id,
                Job.lease_owner == claim.owner,
                Job.state == "running",
            )
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        return result.rowcount

    if not hub.db.run(work):
        raise JobLost(f"job {claim.job_id} is no longer ours")
