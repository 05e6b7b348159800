"""Trainers take jobs, tell how far they are, and give them back or end them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.accounts.tokens import add_token, new_token
from app.catalog.naming import repo_key
from app.db.tables import (
    Account,
    Repo,
    TokenScope,
    TuningCheckpoint,
    TuningFile,
    TuningJob,
    TuningLease,
)
from app.errors import InvalidRequest
from app.hub import Hub
from app.tuning.fencing import extend, fenced, is_held, release, revoke
from app.tuning.losing import lose
from app.tuning.states import FINAL, Level, fail, move, tell

MAX_ATTEMPTS = 3
"""Trainers that a job may outlive without getting any further."""


@dataclass(frozen=True, slots=True)
class Work:
    """Jobs of one base that wait for a trainer. ``is_full``: each needs one to itself."""

    base: str
    commit: str
    is_full: bool
    jobs: int
    priority: int
    waiting_since: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is the caller's until ``lease_s`` from now, longer if it reports.

    ``token`` opens the base, and later what is published to.
    """

    job: TuningJob
    fence: int
    lease_s: float
    token: str
    training_file: TuningFile
    validation_file: TuningFile | None
    checkpoints: Sequence[int]
    """Steps of those that are kept, the newest first."""
    is_suspect: bool
    """Its last trainer was lost before it got any further: to be trained apart from others."""


@dataclass(frozen=True, slots=True)
class Said:
    """An event in a report."""

    message: str
    level: Level = "info"
    metrics: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How far a job is. ``beat`` counts a claim's reports, from 1 on; a repeated one is ignored."""

    job: str
    fence: int
    beat: int
    steps: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    is_running: bool = False
    said: Sequence[Said] = field(default_factory=tuple)


Ending = Literal["queued", "paused", "succeeded", "failed"]


def list_work(hub: Hub) -> list[Work]:
    """What a trainer could take now."""
    with hub.db.read() as session:
        rows = session.execute(
            select(TuningJob, Account.name + "/" + Repo.name)
            .join(TuningLease, TuningLease.job_id == TuningJob.id)
            .outerjoin(Repo, Repo.id == TuningJob.base_repo_id)
            .outerjoin(Account, Account.id == Repo.namespace_id)
            .where(TuningJob.status.in_(("queued", "running")), _is_free(hub))
            .order_by(TuningJob.id)
        ).all()
    found: dict[tuple[str, str, bool], list[TuningJob]] = {}
    for job, name in rows:  # as the base is called now, if it is still there
        found.setdefault((name or job.base, job.commit, job.is_full), []).append(job)
    return [
        Work(
            *what,
            jobs=len(jobs),
            priority=max(map(_priority, jobs)),
            waiting_since=min(job.created_at for job in jobs),
        )
        for what, jobs in found.items()
    ]


def claim_unread(hub: Hub, holder: str) -> Claim | None:
    """Take a job whose files nobody looked at yet."""
    unread = TuningJob.status == "validating_files"
    return next(iter(_claim(hub, holder, unread, most=1)), None)


def claim_jobs(
    hub: Hub, holder: str, *, base: str, commit: str, is_full: bool, most: int
) -> list[Claim]:
    """Take up to ``most`` jobs of one base, those of higher priority first, then older ones.

    ``base``: as it is called now, or as it was when the jobs were made.
    """
    namespace, _, name = base.partition("/")
    named_so = select(Repo.id).where(Repo.key == repo_key("model", namespace, name))
    ready = (
        TuningJob.status.in_(("queued", "running"))
        & ((TuningJob.base == base) | TuningJob.base_repo_id.in_(named_so))
        & (TuningJob.commit == commit)
        & TuningJob.is_full.is_(is_full)
    )
    return _claim(hub, holder, ready, most=most)


def _claim(hub: Hub, holder: str, which: ColumnElement[bool], *, most: int) -> list[Claim]:
    free = (
        select(TuningJob, TuningLease)
        .join(TuningLease, TuningLease.job_id == TuningJob.id)
        .where(which, _is_free(hub))
    )
    with hub.db.read() as session:  # a write transaction on SQLite would stop all other writers
        rows = session.execute(free).all()
    claims: list[Claim] = []
    for job, lease in sorted(rows, key=lambda row: (-_priority(row[0]), row[0].id)):
        is_suspect = lease.attempts > 0 or lease.holder is not None
        if len(claims) == most or (claims and is_suspect):
            break
        claim = hub.db.run(lambda session, job=job: _take(hub, session, holder, job.id, which))
        if claim is not None:
            claims.append(claim)
            if claim.is_suspect:
                break
    return claims


def _take(
    hub: Hub, session: Session, holder: str, job_id: int, which: ColumnElement[bool]
) -> Claim | None:
    """Lock the lease in one statement and look at the job in the next."""
    lease = session.scalar(
        select(TuningLease).where(TuningLease.job_id == job_id).with_for_update(skip_locked=True)
    )
    if lease is None or is_held(hub, lease):
        return None
    job = session.scalar(
        select(TuningJob)
        .where(TuningJob.id == job_id, which)
        .execution_options(populate_existing=True)
    )
    if job is None or not _is_fit(hub, session, job, lease):
        return None
    training = session.get_one(TuningFile, job.training_file_id)
    validation = job.validation_file_id and session.get_one(TuningFile, job.validation_file_id)
    lease.fence += 1
    lease.beat = 0
    lease.holder = holder
    revoke(session, hub, lease)
    secret = new_token()
    token = add_token(
        session, hub, job.owner_id, secret, name=f"trainer of {job.name}", role="fineGrained"
    )
    session.add(TokenScope(token_id=token.id, repo_id=job.base_repo_id, writes=False))
    lease.token_id = token.id
    session.flush()
    extend(session, hub, lease)
    kept = select(TuningCheckpoint.step).where(TuningCheckpoint.job_id == job.id)
    return Claim(
        job=job,
        fence=lease.fence,
        lease_s=hub.settings.timers.tuning_lease_s,
        token=secret,
        training_file=training,
        validation_file=validation or None,
        is_suspect=lease.attempts > 0,
        checkpoints=session.scalars(kept.order_by(TuningCheckpoint.step.desc())).all(),
    )


def _is_fit(hub: Hub, session: Session, job: TuningJob, lease: TuningLease) -> bool:
    """Whether a free job can be taken; one that never can is ended, one that is to wait waits."""
    if lease.holder is not None:  # ran out
        lose(session, hub, job, lease)
    if job.wanted == "pause":
        move(hub, job, "paused")
        tell(session, hub, job, "Fine-tuning job paused")
    elif job.base_repo_id is None:
        fail(session, hub, job, "model_not_found", f"the base {job.base} was deleted", "model")
    elif job.training_file_id is None:
        told = "the training file was deleted"
        fail(session, hub, job, "file_not_found", told, "training_file")
    elif lease.attempts >= MAX_ATTEMPTS:
        told = f"{lease.attempts} trainers were lost without getting any further with this job"
        fail(session, hub, job, "trainer_lost", told)
    else:
        return True
    return False


def beat(hub: Hub, report: Report) -> Literal["run", "pause"]:
    """Take a report; what the owner wants. Raises LeaseLost."""

    def work(session: Session) -> Literal["run", "pause"]:
        job, lease = fenced(session, hub, report.job, report.fence, renewing=True)
        extend(session, hub, lease)
        if report.beat > lease.beat:
            lease.beat = report.beat
            _note(session, hub, job, lease, report)
        return "pause" if job.wanted == "pause" else "run"

    return hub.db.run(work)


def _note(session: Session, hub: Hub, job: TuningJob, lease: TuningLease, report: Report) -> None:
    if report.is_running and job.status == "queued":
        move(hub, job, "running")
        tell(session, hub, job, "Fine-tuning job started")
    for said in report.said:
        # What is done again after a crash was told of before.
        if said.metrics is None or _step_of(said) > job.steps:
            tell(session, hub, job, said.message, level=said.level, metrics=said.metrics)
    if report.steps > job.steps:
        job.steps, lease.attempts = report.steps, 0
        job.trained_tokens = max(job.trained_tokens, report.trained_tokens)
    job.total_steps = report.total_steps or job.total_steps


def _step_of(said: Said) -> int:
    step = (said.metrics or {}).get("step")
    return step if isinstance(step, int) else 0


def validated(hub: Hub, name: str, fence: int) -> None:
    """The files of a job that was claimed unread are fit to train on. Raises LeaseLost."""

    def work(session: Session) -> None:
        job, lease = fenced(session, hub, name, fence, renewing=True)
        if job.status != "validating_files":
            raise InvalidRequest(f"{name} is {job.status}")
        job.is_valid = True
        move(hub, job, "paused" if job.wanted == "pause" else "queued")
        release(session, hub, lease)
        lease.attempts = 0
        tell(session, hub, job, "Files validated, moving job to queued state")

    hub.db.run(work)


def end(
    hub: Hub,
    name: str,
    fence: int,
    ending: Ending,
    *,
    error: tuple[str, str, str | None] | None = None,
    result: Mapping[str, Any] | None = None,
) -> None:
    """The trainer is done with a job, for now or for good. Raises LeaseLost, InvalidRequest.

    ``error``: code, message and the field of the request that is to blame, of one that failed.
    """

    def work(session: Session) -> None:
        job, lease = fenced(session, hub, name, fence, renewing=ending != "succeeded")
        release(session, hub, lease)
        if ending == "failed":
            fail(session, hub, job, *(error or ("trainer_error", "the trainer failed", None)))
        elif ending == "queued":
            if job.status == "running":
                move(hub, job, "queued")
        elif ending == "paused":
            # Its owner may have thought better of it meanwhile.
            to = "paused" if job.wanted == "pause" else "queued"
            if job.status != to:
                move(hub, job, to)
            tell(session, hub, job, f"Fine-tuning job {to} at step {job.steps}")
        else:
            if job.status == "queued":
                move(hub, job, "running")
            move(hub, job, "succeeded")
            job.result = json.dumps(result)
            tell(session, hub, job, f"New fine-tuned model created: {job.target}")
            tell(session, hub, job, "The job has successfully completed")

    hub.db.run(work)


def has_unfinished(hub: Hub) -> bool:
    """Whether there is anything for a trainer to do, now or soon."""
    waiting = select(TuningJob.id).where(TuningJob.status.not_in({*FINAL, "paused"})).limit(1)
    with hub.db.read() as session:
        return session.scalar(waiting) is not None


def _is_free(hub: Hub) -> ColumnElement[bool]:
    now = hub.clock.now()
    return or_(TuningLease.holder.is_(None), TuningLease.until <= now)


def _priority(job: TuningJob) -> int:
    return json.loads(job.request)["wishes"]["priority"]
