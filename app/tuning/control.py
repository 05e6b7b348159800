"""Jobs as their owners see and steer them: listed, cancelled, paused, resumed."""

import json
from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.db.tables import TuningCheckpoint, TuningEvent, TuningJob, TuningLease
from app.errors import ContentNotFound, Forbidden, InvalidRequest
from app.hub import Hub
from app.tuning.fencing import is_held, release
from app.tuning.naming import is_name
from app.tuning.states import FINAL, move, tell

SCANNED = 1_000
"""Rows looked at together when jobs are searched by metadata."""


def find_job(session: Session, caller: Principal, name: str) -> TuningJob:
    """A job of the caller's. Raises ContentNotFound."""
    known = select(TuningJob).where(TuningJob.name == name)
    job = session.scalar(known) if is_name(name, "ftjob") else None
    is_own = job is not None and job.owner_id == caller.account_id and _sees(caller)
    if job is None or not (is_own or caller.is_admin):
        raise ContentNotFound(f"Could not find fine tune: {name[:64]!a}")
    return job


def _sees(caller: Principal) -> bool:
    """A fine-grained token is for jobs if it is for all that its user calls his own."""
    return caller.account_id in caller.namespaces


def list_jobs(
    session: Session,
    caller: Principal,
    *,
    after: str | None,
    limit: int,
    metadata: Mapping[str, str],
) -> tuple[list[TuningJob], bool]:
    """A page of the caller's jobs, newest first, and whether more follow. InvalidRequest."""
    if not _sees(caller):
        return [], False
    try:
        before = None if after is None else find_job(session, caller, after).id
    except ContentNotFound as error:
        raise InvalidRequest(f"after: {error.message}") from None
    found: list[TuningJob] = []
    while len(found) <= limit:
        query = select(TuningJob).where(TuningJob.owner_id == caller.account_id)
        if before is not None:
            query = query.where(TuningJob.id < before)
        rows = session.scalars(query.order_by(TuningJob.id.desc()).limit(SCANNED)).all()
        found += [row for row in rows if _has(row, metadata)]
        if len(rows) < SCANNED:
            break
        before = rows[-1].id
    return found[:limit], len(found) > limit


def _has(job: TuningJob, metadata: Mapping[str, str]) -> bool:
    if not metadata:
        return True
    own = json.loads(job.request)["metadata"]
    return all(own.get(name) == value for name, value in metadata.items())


def list_events(
    session: Session, job: TuningJob, *, after: int | None, limit: int
) -> tuple[list[TuningEvent], bool]:
    """A page of a job's events, newest first, and whether more follow."""
    query = select(TuningEvent).where(TuningEvent.job_id == job.id)
    if after is not None:
        query = query.where(TuningEvent.number < after)
    rows = session.scalars(query.order_by(TuningEvent.number.desc()).limit(limit + 1)).all()
    return list(rows[:limit]), len(rows) > limit


def list_checkpoints(
    session: Session, job: TuningJob, *, after: str | None, limit: int
) -> tuple[list[TuningCheckpoint], bool]:
    """The same of its checkpoints. Raises ContentNotFound."""
    query = select(TuningCheckpoint).where(TuningCheckpoint.job_id == job.id)
    if after is not None:
        known = query.where(TuningCheckpoint.name == after)
        last = session.scalar(known) if is_name(after, "ftckpt") else None
        if last is None:
            raise ContentNotFound(f"after: no checkpoint {after[:64]!a}")
        query = query.where(TuningCheckpoint.step < last.step)
    rows = session.scalars(query.order_by(TuningCheckpoint.step.desc()).limit(limit + 1)).all()
    return list(rows[:limit]), len(rows) > limit


def cancel(hub: Hub, caller: Principal, name: str) -> TuningJob:
    """End a job at once: whoever trains it can write nothing more. Raises InvalidRequest."""

    def work(session: Session, job: TuningJob, lease: TuningLease) -> None:
        move(hub, job, "cancelled")
        release(session, hub, lease)
        tell(session, hub, job, "Fine-tuning job cancelled")

    return _change(hub, caller, name, "cancel", work)


def pause(hub: Hub, caller: Principal, name: str) -> TuningJob:
    """Have a job saved after the step that runs, and wait. Raises InvalidRequest."""

    def work(session: Session, job: TuningJob, lease: TuningLease) -> None:
        if job.status in FINAL:
            raise InvalidRequest(f"{job.name} is {job.status} and cannot be paused")
        if job.wanted == "pause":
            return
        job.wanted = "pause"
        if is_held(hub, lease):
            tell(session, hub, job, "Pausing after the step that runs")
            return
        move(hub, job, "paused")
        release(session, hub, lease)
        tell(session, hub, job, "Fine-tuning job paused")

    return _change(hub, caller, name, "pause", work)


def resume(hub: Hub, caller: Principal, name: str) -> TuningJob:
    """Have a paused job go on. Raises InvalidRequest."""

    def work(session: Session, job: TuningJob, _lease: TuningLease) -> None:
        if job.status != "paused" and job.wanted != "pause":
            raise InvalidRequest(f"{job.name} is {job.status} and cannot be resumed")
        job.wanted = "run"
        if job.status == "paused":
            move(hub, job, "queued" if job.is_valid else "validating_files")
        tell(session, hub, job, "Fine-tuning job resumed")

    return _change(hub, caller, name, "resume", work)


def _change(
    hub: Hub,
    caller: Principal,
    name: str,
    what: str,
    work: Callable[[Session, TuningJob, TuningLease], None],
) -> TuningJob:
    def change(session: Session) -> TuningJob:
        found = find_job(session, caller, name)
        if caller.role == "read":
            raise Forbidden("this token may only read")
        lease = session.get_one(TuningLease, found.id, with_for_update=True)
        # Looked at again: it may have changed while its lease was waited for.
        job = session.get_one(TuningJob, found.id, populate_existing=True)
        work(session, job, lease)
        note(session, hub, f"tuning.{what}", name)
        return job

    return hub.db.run(change)
