"""Requests sent again because their answer was lost: what one made is found by its digest."""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.tables import Commit

WINDOW = timedelta(minutes=10)
"""For so long a request identical to an earlier one may be a retry of it."""

DEPTH = 1_000
"""So many commits may have been made upon that of a request before it is sent again."""


def request_digest(principal: Principal, ref: str, payload_digest: bytes) -> bytes:
    """What tells a request to change a ref from any other: who asks, the ref and the payload."""
    return hashlib.sha256(f"{principal.account_id}\0{ref}\0".encode() + payload_digest).digest()


def is_retry(head: Commit, digest: bytes | None, now: datetime) -> bool:
    """Whether the head was made by the same request, a short while ago."""
    return digest is not None and head.request_digest == digest and now - head.created_at <= WINDOW


def made_before(session: Session, head: Commit, digest: bytes, now: datetime) -> Commit | None:
    """The commit of the same request below the head, where others committed upon it meanwhile.

    Only for a request that would change nothing: else somebody took its effect back, and it is
    meant.
    """
    recent = (
        select(Commit)
        .where(
            Commit.repo_id == head.repo_id,
            Commit.generation < head.generation,
            Commit.generation >= head.generation - DEPTH,
            Commit.created_at >= now - WINDOW,
        )
        .order_by(Commit.generation.desc())
    )
    following = head.parent_oid
    for commit in session.scalars(recent.execution_options(yield_per=100)):
        if commit.oid == following:
            if commit.request_digest == digest:
                return commit
            following = commit.parent_oid
    return None
