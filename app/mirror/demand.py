"""Asking for an awaited file: the job that fetches it, and what became of it last time."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import errors
from app.db import after_commit
from app.db.inserting import upsert
from app.db.tables import AwaitedFile, AwaitedRange, Job
from app.errors import HubError, LimitExceeded, UpstreamDown
from app.hub import Hub
from app.jobs.outbox import enqueue

FETCH = "fetch"
"""Kind of the jobs that fetch a file."""

SOON, AT_LEISURE = -20, 20
"""Priorities: somebody waits for it; nobody does."""

_KINDS: dict[str, type[HubError]] = {
    each.__name__: each
    for each in (
        errors.UpstreamDown,
        errors.UpstreamSlow,
        errors.UpstreamLied,
        errors.GatedRepo,
        errors.EntryNotFound,
        errors.RepoNotFound,
    )
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An awaited file."""

    repo_id: int
    oid: str
    """Of the pointer."""
    nbytes: int

    @property
    def key(self) -> str:
        """What the job is known by."""
        return f"awaited:{self.repo_id}:{self.oid}"


def demand(hub: Hub, wanted: Wanted, start: int, stop: int) -> None:
    """Have a file fetched now, ``[start, stop)`` first, unless it is on its way or here.

    Raises LimitExceeded for one that is too long, UpstreamDown if the mirror is offline, and what
    the last attempt failed with while that is fresh (``mirror.negative_s``).
    """
    check_fetchable(hub, wanted.nbytes)
    fresh_after = hub.clock.now() - timedelta(seconds=hub.settings.mirror.negative_s)

    def work(session: Session) -> None:
        awaited = session.get(AwaitedFile, (wanted.repo_id, wanted.oid), with_for_update=True)
        if awaited is None:
            return
        fault = fault_of(awaited)
        if fault is not None and awaited.fault_at is not None and awaited.fault_at > fresh_after:
            raise fault
        awaited.fault = awaited.fault_kind = awaited.fault_at = None
        if start > 0:  # a fetch follows the file from its beginning in any case
            row = {"repo_id": wanted.repo_id, "oid": wanted.oid, "start": start, "stop": stop}
            session.execute(upsert(session, AwaitedRange).values(row).on_conflict_do_nothing())
        owe_fetch(session, hub, wanted, priority=SOON)

    hub.db.run(work)


def owe_fetch(session: Session, hub: Hub, wanted: Wanted, *, priority: int) -> None:
    """Queue the job that fetches a file, unless one runs. The awaited row is locked."""
    unfinished = session.scalars(
        select(Job)
        .where(Job.kind == FETCH, Job.key == wanted.key, Job.state.in_(["queued", "running"]))
        .with_for_update()
    ).first()
    if unfinished is None:
        payload: dict[str, int | str] = {"repo_id": wanted.repo_id, "oid": wanted.oid}
        enqueue(session, hub, FETCH, key=wanted.key, payload=payload, priority=priority)
    elif unfinished.state == "queued":
        unfinished.priority = min(unfinished.priority, priority)
        if priority == SOON:
            unfinished.run_after = hub.clock.now()
            job_id = unfinished.id
            after_commit(session, lambda: hub.notify_jobs([job_id]))


def check_fetchable(hub: Hub, nbytes: int) -> None:
    """Raise unless a file of this length may be fetched now."""
    mirror = hub.settings.mirror
    if hub.settings.upstream is None or mirror.offline:
        raise UpstreamDown(
            "this file of a mirrored repository was not fetched, and the mirror is offline"
        )
    for limit, setting in (
        (mirror.file_nbytes, "mirror.file_nbytes"),
        (hub.settings.limits.file_nbytes, "limits.file_nbytes"),
    ):
        if nbytes > limit:
            raise LimitExceeded(f"a file of {nbytes} bytes is not fetched", setting=setting)


def fault_of(awaited: AwaitedFile) -> HubError | None:
    """What the last attempt to fetch a file failed with, as an error to raise."""
    if awaited.fault is None:
        return None
    return _KINDS.get(awaited.fault_kind or "", UpstreamDown)(awaited.fault)


def note_fault(session: Session, hub: Hub, awaited: AwaitedFile, error: HubError) -> None:
    """Tell those who wait for a file, whose row is locked, that it will not come now."""
    awaited.fault = error.message
    known = next((kind for kind in type(error).__mro__ if kind.__name__ in _KINDS), UpstreamDown)
    awaited.fault_kind = known.__name__
    awaited.fault_at = hub.clock.now()
    session.flush()
