"""The scrubber: every stored object is read again within a period, the longest unread first.

It works in hourly jobs of a bounded number of bytes. Where it is, the objects remember themselves,
so nothing is lost by a stop. What it finds is kept as findings and logged.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import StoredObject
from app.gc.fsck.reading import look_at
from app.gc.soundness import Inspected, settle
from app.hub import Hub
from app.jobs.context import JobContext

PAGE = 100

log = structlog.get_logger(__name__)


def scrub(context: JobContext) -> None:
    """Handler of ``scrub`` jobs; the payload is empty. Idempotent and resumable."""
    hub = context.hub
    budget = left = hub.settings.jobs.scrub_nbytes
    objects = findings = 0
    before = hub.clock.now() - timedelta(seconds=hub.settings.timers.scrub_s)
    while left > 0 and (page := _longest_unread(hub, before)):
        for row in page:
            context.check()
            findings += len(settle(hub, row, look_at(hub, row), read=True))
            objects += 1
            left -= row.nbytes
            context.progress(budget - left, budget)
            if left <= 0:
                break
    log.info("scrub.done", objects=objects, nbytes=budget - left, findings=findings)


def oldest_unread(session: Session) -> datetime | None:
    """Since when the object that was not read for longest was not read; None without objects."""
    live = StoredObject.state == "live"
    never = session.scalar(
        select(func.min(StoredObject.created_at)).where(live, StoredObject.verified_at.is_(None))
    )
    read = session.scalar(select(func.min(StoredObject.verified_at)).where(live))
    return min((each for each in (never, read) if each is not None), default=None)


def _longest_unread(hub: Hub, before: datetime) -> Sequence[Inspected]:
    due = (StoredObject.state == "live", StoredObject.verified_at <= before)
    # Rows that an older version of the code wrote say nothing of when they were read.
    unsaid = (
        StoredObject.state == "live",
        StoredObject.verified_at.is_(None),
        StoredObject.created_at <= before,
    )
    columns = select(StoredObject.id, StoredObject.key, StoredObject.nbytes)
    with hub.db.read() as session:
        rows = session.execute(columns.where(*unsaid).order_by(StoredObject.id).limit(PAGE)).all()
        if not rows:
            by_age = columns.where(*due).order_by(StoredObject.verified_at, StoredObject.id)
            rows = session.execute(by_age.limit(PAGE)).all()
    return [Inspected(*row) for row in rows]
