"""What happens by itself: jobs, collections, time."""

import pytest
from sqlalchemy import delete, select, update

from app.db.tables import Encoding, Job, Rejection
from app.deltas.reencode import owe_reencoding
from app.deltas.rejections import Outcome
from app.gc.collect import collect
from app.gc.periodic import collect_garbage, sweep_store
from app.jobs.context import JobContext
from app.jobs.runner import run_job, run_one
from app.jobs.schedule import queue_due
from app.tasks import HANDLERS, PERIODS
from tests.crash.stage import Stage

DAY_S = 24 * 3600.0


def run_jobs(stage: Stage) -> None:
    stage.run_jobs()


def job_by_id(stage: Stage) -> None:
    """As a message of a broker asks for."""
    with stage.hub.db.read() as session:
        job_id = session.scalars(select(Job.id).order_by(Job.id.desc())).first()
    assert job_id is not None
    run_job(stage.hub, HANDLERS, job_id, "stage")


def zombie(stage: Stage) -> None:
    """A writer that was given up on long ago finishes its put; the sweep finds what it wrote."""
    key = f"o/{stage.hub.store_epoch}/aa/{len(stage.deaths):032x}"
    stage.is_harmed = True  # fsck names it
    stage.write_behind(key, b"too late")
    sweep_store(JobContext(stage.hub, 0, {}))
    stage.is_harmed = False


def periodic_jobs(stage: Stage) -> None:
    """A day later, as the schedule has it."""
    stage.clock.advance(7 * DAY_S)
    queue_due(stage.hub, PERIODS)
    stage.run_jobs()


def regroup_in_vain(stage: Stage) -> None:
    """Nothing that is coded pays; then that is forgotten, so that it is tried again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outcome, "pays", lambda _outcome, _allowance: False)
        periodic_jobs(stage)
    with stage.hub.db.write() as session:
        session.execute(delete(Rejection))


def collect_now(stage: Stage) -> None:
    collect(stage.hub, now=True)


def everything_expires(stage: Stage) -> None:
    """Intents, leases, uploads, xorbs; then the collector's own job and a sweep."""
    stage.clock.advance(60 * DAY_S)
    context = JobContext(stage.hub, 0, {})
    collect_garbage(context)
    sweep_store(context)
    collect(stage.hub, now=True)


def reencode(stage: Stage) -> None:
    """All that is stored was decided by an older encoder."""
    with stage.hub.db.write() as session:
        session.execute(update(Encoding).values(encoder=0))
        owe_reencoding(session, stage.hub)
    stage.run_jobs()


def reencode_by_budget(stage: Stage) -> None:
    """As much as one job may do; the next one is owed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.deltas.reencode.BUDGET_NBYTES", 1)
        with stage.hub.db.write() as session:
            session.execute(update(Encoding).values(encoder=0))
            owe_reencoding(session, stage.hub)
        run_one(stage.hub, HANDLERS, "stage")
    stage.run_jobs()
