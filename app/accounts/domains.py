"""Dedup domains: whose bytes may be recognised as stored already.

Files and contents are unique within a domain. What is sent to a public repository belongs to the
shared one; what is sent to a private or gated one belongs to that of its namespace, where it may
also find what is shared. So nobody can tell by time, size or form whether bytes that he may not
read are stored. A hub, or an organisation, can have it otherwise: ``dedup = hub``.
"""

from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, true, update
from sqlalchemy.orm import Session, aliased

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.accounts.users import find_account
from app.db.tables import (
    AccessRequest,
    Account,
    Content,
    Encoding,
    File,
    Repo,
    Segment,
    TreeEntry,
)
from app.errors import NotFound
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue

Dedup = Literal["namespace", "hub"]

SHARED = 0
"""The domain of what is, or was once, public."""

JOB = "share"


def domain_of(session: Session, hub: Hub, repo: Repo) -> int:
    """The domain that bytes sent to a repo belong to: :data:`SHARED`, or its namespace's id."""
    if not repo.private and repo.gated is None:
        return SHARED
    chosen = session.get_one(Account, repo.namespace_id).dedup or hub.settings.dedup
    return SHARED if chosen == "hub" else repo.namespace_id


def reachable_domains_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``File``: in a domain where the principal may have something to read.

    A bound for look-ups by digest: rows that others have of the same bytes are not even touched.
    """
    if principal is None:
        return File.domain == SHARED
    if principal.is_admin:
        return true()
    let_in = (
        select(Repo.namespace_id)
        .join(AccessRequest, AccessRequest.repo_id == Repo.id)
        .where(AccessRequest.account_id == principal.account_id, AccessRequest.status == "accepted")
    )
    return or_(File.domain.in_([SHARED, *principal.owners]), File.domain.in_(let_in))


def set_dedup(hub: Hub, name: str, dedup: Dedup | None) -> None:
    """Let a namespace have a domain of its own, or not; None: as the hub has it.

    What is stored already stays where it is. Raises NotFound.
    """

    def work(session: Session) -> None:
        account = find_account(session, name)
        if account is None:
            raise NotFound(f"no user or organisation {name!r}")
        account.dedup = dedup
        note(session, hub, "account.dedup", account.name, dedup or "default")

    hub.db.run(work)


def owe_sharing(session: Session, hub: Hub, repo_id: int) -> None:
    """A repo was opened to everybody: owe the job that moves its bytes to the shared domain."""
    enqueue(session, hub, JOB, key=f"repo:{repo_id}", payload={"repo_id": repo_id}, priority=20)


def share_repo(context: JobContext) -> None:
    """Handler of ``share`` jobs: payload ``repo_id``. Idempotent; nothing for what is not public.

    Bytes that the shared domain has already stay where they are.
    """
    hub, repo_id = context.hub, int(context.payload["repo_id"])

    def work(session: Session) -> None:
        repo = session.get(Repo, repo_id, with_for_update={"read": True})
        if repo is None or domain_of(session, hub, repo) != SHARED:
            return
        files = select(TreeEntry.file_id).where(
            TreeEntry.repo_id == repo_id, TreeEntry.file_id.is_not(None)
        )
        contents = select(Segment.content_id).where(Segment.file_id.in_(files))
        for table, ids, key in ((File, files, "sha256"), (Content, contents, "digest")):
            other = aliased(table)
            taken = exists().where(
                getattr(other, key) == getattr(table, key), other.domain == SHARED
            )
            session.execute(
                update(table)
                .where(table.id.in_(ids), table.domain != SHARED, ~taken)
                .values(domain=SHARED)
                .execution_options(synchronize_session=False)
            )
        _owe_parting(session, hub, contents)

    hub.db.run(work)


def _owe_parting(session: Session, hub: Hub, contents: Select[Any]) -> None:
    """Packs in which some lie beside private bytes are made anew, domain by domain."""
    packs = select(Encoding.object_id).where(Encoding.content_id.in_(contents))
    mixed = session.scalars(
        select(Encoding.object_id)
        .join(Content, Content.id == Encoding.content_id)
        .where(Encoding.object_id.in_(packs))
        .group_by(Encoding.object_id)
        .having(func.min(Content.domain) != func.max(Content.domain))
        .order_by(Encoding.object_id)
    )
    for object_id in mixed:
        key = f"object:{object_id}"
        enqueue(session, hub, "repack", key=key, payload={"object_id": object_id}, priority=20)


def dedup_of(account: Account) -> Dedup | None:
    """What an account chose; None: as the hub has it."""
    return cast("Dedup | None", account.dedup)
