"""The audit log: who did what to which thing, written in the transaction that did it.

Rows are only ever added, and dropped when they are older than ``audit_kept_s``. Who acts is known
from the request that is served; without one it is the command line or the hub itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.tables import AuditEvent
from app.hub import Hub
from app.jobs.context import JobContext

JOB = "audit"

OPERATOR = "(operator)"
"""Stands for whoever runs the command line, and for the hub's own jobs."""

PRUNED = 1_000
"""Rows dropped per transaction."""


@dataclass(slots=True)
class Acting:
    """Who is served at the moment. Filled in once the token is known."""

    address: str = ""
    principal: Principal | None = None


_acting: ContextVar[Acting | None] = ContextVar("acting", default=None)


@contextmanager
def acting(address: str) -> Iterator[None]:
    """Whatever is done inside, on this thread or those it starts work on, is done for a request."""
    token = _acting.set(Acting(address))
    try:
        yield
    finally:
        _acting.reset(token)


def acts_as(principal: Principal) -> None:
    """The request that is served comes from this principal."""
    who = _acting.get()
    if who is not None:
        who.principal = principal


def note(session: Session, hub: Hub, action: str, target: str, detail: str = "") -> None:
    """Record that ``action`` is done to ``target``; it is recorded if and only if it is done."""
    who = _acting.get() or Acting()
    principal = who.principal
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    session.add(
        AuditEvent(
            at=hub.clock.now(),
            request_id=str(request_id)[:200] if request_id else None,
            address=who.address[:64],
            actor_id=principal.account_id if principal else None,
            actor=principal.name if principal else OPERATOR,
            token_id=principal.token_id or None if principal else None,
            action=action,
            target=target[:512],
            detail=detail[:1024],
        )
    )


def list_events(
    session: Session,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[AuditEvent]:
    """Events, newest first. ``action``: it or, with a dot at its end, all that begin so."""
    query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if actor is not None:
        query = query.where(AuditEvent.actor == actor)
    if target is not None:
        query = query.where(AuditEvent.target == target)
    if action is not None and action.endswith("."):
        query = query.where(AuditEvent.action.startswith(action, autoescape=True))
    elif action is not None:
        query = query.where(AuditEvent.action == action)
    if before is not None:
        query = query.where(AuditEvent.id < before)
    return session.scalars(query).all()


def prune_audit(context: JobContext) -> None:
    """Handler of ``audit`` jobs; the payload is empty: drop events that are old enough."""
    hub = context.hub
    until = hub.clock.now() - timedelta(seconds=hub.settings.audit_kept_s)

    def work(session: Session) -> int:
        old = select(AuditEvent.id).where(AuditEvent.at < until).order_by(AuditEvent.id)
        ids = list(session.scalars(old.limit(PRUNED)))
        session.execute(delete(AuditEvent).where(AuditEvent.id.in_(ids)))
        return len(ids)

    while hub.db.run(work):
        context.check()
