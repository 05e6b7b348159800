"""The optimiser: what is stored gets the form that it would be given if all were known before.

Three walks over the hub, one after the other and again: what older encoders wrote is coded anew,
bases are chosen anew around every tensor, small and half-empty objects are packed anew. Each goes
by the swap protocol (write, decode, compare, flip, retire) and changes nothing that does not get
smaller. An hour has a budget; where a walk stands is kept, so that a stop costs a batch at most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contents.bookmarks import keep_bookmark, load_bookmark
from app.db.tables import Content, Sketch
from app.deltas.budget import Budget
from app.deltas.joining import join_next
from app.deltas.rebase import carry_out, groups, plan_regroupings, raw_nbytes
from app.deltas.reencode import reencode_next
from app.deltas.rejections import forget_old
from app.deltas.swap import SwapRefused
from app.errors import Damaged
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue

JOB = "optimise"

BOOKMARK = "optimise"

TENSORS = 50
"""Tensors around which is planned in one step."""

ROUND_S = 24 * 3600.0
"""After a round that saved nothing, and while nothing new comes, the next begins so much later."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """Where the optimiser stands, and what it did so far."""

    walk: int = 0
    after: int = 0
    saved_nbytes: int = 0
    """In this round."""
    rested_at: str | None = None
    """End of the last round, if that saved nothing."""
    newest: int = 0
    """Newest content then."""
    rounds: int = 0
    total_saved_nbytes: int = 0
    total_nbytes: int = 0
    """Raw bytes coded."""
    total_cpu_s: float = 0.0


def load_progress(session: Session) -> tuple[Progress, dict[str, Any]]:
    """What was kept, and of the hour's budget."""
    kept = load_bookmark(session, BOOKMARK)
    return Progress(**kept.get("progress", {})), kept.get("budget", {})


def optimise(context: JobContext) -> None:
    """Handler of ``optimise`` jobs: payload empty, or ``whole``: without budget, until settled.

    Idempotent and resumable. What is damaged, or moves away under its feet, is left for another
    round.
    """
    hub, whole = context.hub, bool(context.payload.get("whole"))
    with hub.db.read() as session:
        progress, kept = load_progress(session)
        newest = session.scalar(select(func.max(Content.id))) or 0
    budget = Budget() if whole else Budget.of_hour(hub, kept)
    if not whole and _rests(hub, progress, newest):
        return
    progress.rested_at = None
    while progress.rested_at is None and not budget.is_spent:
        context.check()
        _step(context, progress, budget, newest)


def owe_optimising(session: Session, hub: Hub) -> None:
    """Queue a run without budget; one that is queued already serves."""
    enqueue(session, hub, JOB, key="whole", payload={"whole": 1}, priority=60)


def _rests(hub: Hub, progress: Progress, newest: int) -> bool:
    if progress.rested_at is None or newest > progress.newest:
        return False
    rested_at = datetime.fromisoformat(progress.rested_at)
    return hub.clock.now() < rested_at + timedelta(seconds=ROUND_S)


def _step(context: JobContext, progress: Progress, budget: Budget, newest: int) -> None:
    """One step of a walk, and a note of where it ended."""
    hub = context.hub
    nbytes, cpu_s = budget.spent_nbytes, budget.spent_cpu_s
    saved, after = WALKS[progress.walk](context, budget, progress.after)
    budget.spend(0)
    progress.saved_nbytes += saved
    progress.total_saved_nbytes += saved
    progress.total_nbytes += budget.spent_nbytes - nbytes
    progress.total_cpu_s = round(progress.total_cpu_s + budget.spent_cpu_s - cpu_s, 3)
    progress.after = after or 0
    if after is None:
        progress.walk += 1
    if progress.walk == len(WALKS):
        log.info("optimise.round", saved_nbytes=progress.saved_nbytes)
        if not progress.saved_nbytes:
            progress.rested_at, progress.newest = hub.clock.now().isoformat(), newest
        hub.db.run(lambda session: forget_old(session, hub))
        progress.walk, progress.saved_nbytes = 0, 0
        progress.rounds += 1
    hub.db.run(lambda session: _keep(session, hub, progress, budget))


def _keep(session: Session, hub: Hub, progress: Progress, budget: Budget) -> None:
    fields = {name: getattr(progress, name) for name in Progress.__dataclass_fields__}
    keep_bookmark(session, hub, BOOKMARK, {"progress": fields, "budget": budget.kept()})


def _reencode(context: JobContext, budget: Budget, after: int) -> tuple[int, int | None]:
    done = reencode_next(context, after)
    if done is None:
        return 0, None
    budget.spend(done.nbytes)
    return done.saved_nbytes, done.last


def _rebase(context: JobContext, budget: Budget, after: int) -> tuple[int, int | None]:
    hub = context.hub
    with hub.db.read() as session:
        contents = session.scalars(
            select(Sketch.content_id)
            .where(Sketch.content_id > after)
            .order_by(Sketch.content_id)
            .limit(TENSORS)
        ).all()
    if not contents:
        return 0, None
    saved = 0
    for group in groups(hub, plan_regroupings(hub, contents)):
        if budget.is_spent:
            return saved, after
        try:
            saved += carry_out(context, group) or 0
        except (SwapRefused, Damaged) as error:
            log.info("optimise.left", error=str(error))
        budget.spend(sum(raw_nbytes(hub, plan) for plan in group))
    return saved, contents[-1]


def _join(context: JobContext, budget: Budget, after: int) -> tuple[int, int | None]:
    return 0, join_next(context, budget, after)


WALKS: tuple[Callable[[JobContext, Budget, int], tuple[int, int | None]], ...] = (
    _reencode,
    _rebase,
    _join,
)
"""Stored bytes saved by a step, and where the next begins: None at the walk's end."""
