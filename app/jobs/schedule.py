"""Work that is owed again and again: queued like any other once its period has passed."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.instants import SKEW
from app.db.tables import Job
from app.hub import Hub
from app.jobs.outbox import enqueue

LOOK_S = 30.0
"""How often a runner or sweep looks whether something is due."""


def queue_due(hub: Hub, periods: Mapping[str, float]) -> None:
    """Queue a job, with an empty payload, of each kind whose last one is a period old.

    ``periods`` gives seconds by kind. The queue itself is the memory, so it does not matter how
    many processes look, nor how often; two that look at once may queue a job twice.
    """
    with hub.db.read() as session:
        due = _due(session, hub, periods)
    if not due:
        return

    def work(session: Session) -> None:
        for kind in _due(session, hub, periods):
            enqueue(session, hub, kind, key=_key(kind), payload={}, priority=50)

    hub.db.run(work)


def _due(session: Session, hub: Hub, periods: Mapping[str, float]) -> list[str]:
    now = hub.clock.now()
    kinds: list[str] = []
    for kind, period_s in periods.items():
        last = session.scalar(select(func.max(Job.created_at)).where(Job.key == _key(kind)))
        # One from the future was queued while the clock was wrong: it must not hold others back.
        if last is None or not now - timedelta(seconds=period_s) < last <= now + SKEW:
            kinds.append(kind)
    return kinds


def _key(kind: str) -> str:
    return f"periodic:{kind}"
