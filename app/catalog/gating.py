"""Who is let in to the files of gated repositories: asked, granted, accepted, rejected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.accounts.users import find_account
from app.db.inserting import insert_if_absent
from app.db.tables import AccessRequest, Account, Repo
from app.errors import InvalidRequest, NotFound
from app.hub import Hub

Status = Literal["pending", "accepted", "rejected"]

MAX_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ListedRequest:
    """An access request with who it is about."""

    request: AccessRequest
    account: Account


def ask_access(hub: Hub, principal: Principal, repo: Repo) -> Status:
    """Ask to be let in; the state of the request then.

    A repo gated ``auto`` lets in whoever asks; else asking again changes nothing. Raises
    InvalidRequest if the repo is not gated.
    """
    status: Status = "accepted" if _gate(repo) == "auto" else "pending"
    return hub.db.run(
        lambda session: _open_request(session, hub, repo, principal.account_id, status, asked=True)
    )


def grant_access(hub: Hub, repo: Repo, user: str) -> None:
    """Let a user in unasked.

    Raises InvalidRequest if the repo is not gated or the user is in already, NotFound for no user.
    """
    _gate(repo)

    def work(session: Session) -> None:
        account = _find_user(session, user)
        request = _find(session, repo, AccessRequest.account_id == account.id)
        note(session, hub, "access.grant", repo.key, account.name)
        if request is None:
            _open_request(session, hub, repo, account.id, "accepted", asked=False)
        elif request.status == "accepted":
            raise InvalidRequest(f"{account.name} already has access to the repo")
        else:
            _change(hub, request, "accepted", None)

    hub.db.run(work)


def handle_request(
    hub: Hub,
    repo: Repo,
    status: Status,
    *,
    user: str | None = None,
    request_id: int | None = None,
    reason: str | None = None,
) -> None:
    """Put a request into another list; one of ``user`` and ``request_id`` says which.

    Raises InvalidRequest if the repo is not gated, NotFound if there is no such request, or it is
    in that list already.
    """
    _gate(repo)
    if reason is not None and (status != "rejected" or len(reason) > MAX_REASON_LENGTH):
        raise InvalidRequest("rejectionReason: at most 200 characters, for rejections only")

    def work(session: Session) -> None:
        if user is not None:
            condition = AccessRequest.account_id == _find_user(session, user).id
        else:
            condition = AccessRequest.id == request_id
        request = _find(session, repo, condition)
        if request is None:
            raise NotFound("no such access request")
        if request.status == status:
            raise NotFound(f"the access request is in the {status} list already")
        _change(hub, request, status, reason)
        about = session.get_one(Account, request.account_id)
        note(session, hub, f"access.{status}", repo.key, about.name)

    hub.db.run(work)


def list_requests(
    session: Session, repo: Repo, status: Status, *, after: int = 0, limit: int = 1_000
) -> Sequence[ListedRequest]:
    """Requests of a gated repo in one state, oldest first, from beyond the id ``after``."""
    _gate(repo)
    rows = session.execute(
        select(AccessRequest, Account)
        .join(Account, Account.id == AccessRequest.account_id)
        .where(
            AccessRequest.repo_id == repo.id,
            AccessRequest.status == status,
            AccessRequest.id > after,
        )
        .order_by(AccessRequest.id)
        .limit(limit)
    )
    return [ListedRequest(request, account) for request, account in rows]


def _gate(repo: Repo) -> str:
    if repo.gated is None:
        raise InvalidRequest("the repo is not gated")
    return repo.gated


def _find(session: Session, repo: Repo, condition: object) -> AccessRequest | None:
    return session.scalar(
        select(AccessRequest)
        .where(AccessRequest.repo_id == repo.id, condition)  # pyright: ignore[reportArgumentType]
        .with_for_update()
    )


def _find_user(session: Session, name: str) -> Account:
    account = find_account(session, name)
    if account is None or account.kind != "user":
        raise NotFound(f"no user {name!r}")
    return account


def _open_request(
    session: Session, hub: Hub, repo: Repo, account_id: int, status: Status, *, asked: bool
) -> Status:
    row = {
        "repo_id": repo.id,
        "account_id": account_id,
        "status": status,
        "asked": asked,
        "rejection_reason": None,
        "changed_at": hub.clock.now(),
    }
    insert_if_absent(session, AccessRequest, row)
    found = _find(session, repo, AccessRequest.account_id == account_id)
    assert found is not None
    if (found.status, status) == ("pending", "accepted"):
        _change(hub, found, status, None)
    return found.status  # pyright: ignore[reportReturnType]


def _change(hub: Hub, request: AccessRequest, status: Status, reason: str | None) -> None:
    request.status, request.rejection_reason = status, reason
    request.changed_at = hub.clock.now()
