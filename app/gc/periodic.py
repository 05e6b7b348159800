"""Periodic jobs: collect garbage, owe again what an interrupted process left, sweep the store."""

from datetime import timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.usage import settle_usage
from app.db.tables import Encoding, Segment, TreeEntry
from app.deltas.rebase import orphan_bases
from app.gc.collect import collect
from app.gc.sweeping import sweep
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue
from app.jobs.pruning import prune_finished

STALE_S = 3600.0
"""Contents that wait for the encoder longer than this get a job again."""

MOST = 1000
"""Jobs owed again in one run."""

log = structlog.get_logger(__name__)


def collect_garbage(context: JobContext) -> None:
    """Handler of ``gc`` jobs; the payload is empty. Idempotent."""
    hub = context.hub
    hub.db.run(lambda session: _owe(session, hub))
    collect(hub)
    settle_usage(hub)
    prune_finished(hub)


def sweep_store(context: JobContext) -> None:
    """Handler of ``sweep`` jobs; the payload is empty. Idempotent; starts over when interrupted."""
    hub = context.hub
    found = sweep(hub, grace_s=hub.settings.timers.unknown_s, check=context.check)
    log.info("sweep.done", unknown=found.unknown, lost=found.lost)


def _owe(session: Session, hub: Hub) -> None:
    waiting = session.scalars(
        select(func.min(Segment.file_id))
        .join(Encoding, Encoding.content_id == Segment.content_id)
        .where(
            Encoding.final.is_(False),
            Encoding.created_at < hub.clock.now() - timedelta(seconds=STALE_S),
            Segment.file_id.in_(select(TreeEntry.file_id)),
        )
        .group_by(Encoding.object_id)
        .limit(MOST)
    )
    for file_id in waiting:
        enqueue(session, hub, "encode", key=f"file:{file_id}", payload={"file_id": file_id})
    for content_id in orphan_bases(session)[:MOST]:
        payload: dict[str, int | str] = {"content_id": content_id}
        key = f"content:{content_id}"
        enqueue(session, hub, "rebase", key=key, payload=payload, priority=10)
