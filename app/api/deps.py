"""What every route is handed: the hub, who is asking, and the repo that the URL names.

Revisions and tree paths in a URL may hold encoded slashes: routes declare them with the convertors
of ``app.api.routing`` (``{revision:quoted}``, ``{path:quotedpath}``).
"""

import base64
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.accounts.audit import acts_as
from app.accounts.names import check_name
from app.accounts.permissions import can_write
from app.accounts.tokens import BAD_CREDENTIALS, Principal, authenticate
from app.api.mirroring import keep_mirrored
from app.api.routing import RepoType, repo_path_prefix
from app.catalog.mirrored import check_not_mirrored
from app.catalog.proposals import check_push
from app.catalog.refs import PULL_REQUEST, revision_or_default
from app.catalog.repos import check_open, find_readable_repo, repo_id
from app.db.tables import Commit, Repo
from app.errors import Forbidden, InvalidRequest, RepoNotFound, Unauthorized
from app.hub import Hub
from app.signing import SealBroken, unseal
from app.tuning.keeper import TRAINER


def get_hub(request: Request) -> Hub:
    """The hub this app serves."""
    return request.app.state.hub


async def hub_of(request: Request) -> Hub:
    """The same. A coroutine, as those below: FastAPI calls plain functions on a thread."""
    return get_hub(request)


HubDep = Annotated[Hub, Depends(hub_of)]


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever sent a request: he is looked up in the very transaction that answers him.

    For routes that are asked for every file; others are handed :data:`Caller`, looked up before.
    """

    hub: Hub
    credentials: str
    """The Authorization header."""

    def principal(self, session: Session) -> Principal | None:
        """Who is asking; None without credentials. Raises Unauthorized for wrong ones."""
        if not self.credentials:
            return None
        principal = authenticate(session, _token_in(self.credentials), now=self.hub.clock.now())
        acts_as(principal)
        return principal


async def get_asker(request: Request) -> Asker:
    """Whoever sent this request."""
    return Asker(get_hub(request), request.headers.get("authorization", ""))


AskerDep = Annotated[Asker, Depends(get_asker)]


def get_caller(asker: AskerDep) -> Principal | None:
    """Who is asking; None without credentials. Raises Unauthorized for wrong ones."""
    with asker.hub.db.look() as session:
        return asker.principal(session)


Caller = Annotated[Principal | None, Depends(get_caller)]


def get_signed_in(caller: Caller) -> Principal:
    """Who is asking. Raises Unauthorized without credentials."""
    if caller is None:
        raise Unauthorized("Invalid username or password.")
    return caller


async def require_signed_in(caller: Caller) -> Principal:
    """As :func:`get_signed_in`."""
    return get_signed_in(caller)


SignedIn = Annotated[Principal, Depends(require_signed_in)]


def get_admin(caller: Principal) -> Principal:
    """Who is asking. Raises Forbidden unless the hub is his to run."""
    if not caller.is_admin:
        raise Forbidden("only administrators of the hub are told")
    return caller


async def require_admin(caller: SignedIn) -> Principal:
    """As :func:`get_admin`."""
    return get_admin(caller)


Admin = Annotated[Principal, Depends(require_admin)]


async def named_revision(hub: HubDep, revision: str) -> str:
    """The revision that a URL names."""
    return revision_or_default(hub, revision)


Revision = Annotated[str, Depends(named_revision)]


def check_trainer(request: Request) -> None:
    """Raise Unauthorized or Forbidden unless a trainer asks: our own, or an administrator's."""
    hub = get_hub(request)
    header = request.headers.get("authorization")
    if not header:
        raise Unauthorized("a trainer shows an administrator's token")
    token = _token_in(header)
    with suppress(SealBroken):
        unseal(hub.secret, TRAINER, token, now=hub.clock.now())
        return
    with hub.db.read() as session:
        get_admin(authenticate(session, token, now=hub.clock.now()))


Trainer = Annotated[None, Depends(check_trainer)]


@dataclass(frozen=True, slots=True)
class RepoName:
    """The repo a URL names, whether or not it exists."""

    repo_type: RepoType
    namespace: str
    name: str

    def find(self, session: Session, caller: Principal | None) -> Repo:
        """The repo. Raises RepoNotFound if it does not exist for this caller."""
        return find_readable_repo(session, caller, self.repo_type, self.namespace, self.name)

    def find_open(self, session: Session, caller: Principal | None) -> Repo:
        """The repo, whose files this caller may read. Raises RepoNotFound, or GatedRepo."""
        repo = self.find(session, caller)
        check_open(session, caller, repo)
        return repo

    def find_writable(self, session: Session, caller: Principal) -> Repo:
        """The repo. RepoNotFound if it does not exist for this caller, Forbidden if read-only.

        ReadOnlyRepo for a mirror.
        """
        repo = self.find_owned(session, caller)
        check_not_mirrored(session, repo)
        return repo

    def find_owned(self, session: Session, caller: Principal) -> Repo:
        """The repo, which the caller may delete: one to write to, or a mirror. Raises as above."""
        repo = self.find(session, caller)
        if not can_write(session, caller, repo):
            raise Forbidden(f"you may not write to {self.namespace}/{self.name}")
        return repo

    def find_target(
        self, session: Session, caller: Principal, revision: str | None, *, create_pr: bool = False
    ) -> Repo:
        """The repo, to a revision of which this caller may commit or, ``create_pr``, propose to.

        RepoNotFound if it does not exist for him, GatedRepo if he may not read its files,
        ReadOnlyRepo for a mirror, else Forbidden.
        """
        if not create_pr and not (revision or "").startswith(PULL_REQUEST):
            return self.find_writable(session, caller)
        repo = self.find(session, caller)
        check_open(session, caller, repo)
        check_push(session, caller, repo, None if create_pr else revision)
        return repo


def parse_repo_name(repo_type: RepoType, namespace: str, name: str) -> RepoName:
    """A name as one value. Raises RepoNotFound for names that no repo can have."""
    try:
        return RepoName(
            repo_type, check_name(namespace, "namespace"), check_name(name, "repository name")
        )
    except InvalidRequest:
        raise RepoNotFound("Repository not found") from None


async def get_repo_name(
    request: Request, asker: AskerDep, repo_type: RepoType, namespace: str, name: str
) -> RepoName:
    """The repo of the path parameters; if it is on the upstream of a mirror, it is here as well.

    Raises RepoNotFound for names that no repo can have, and as ``app.mirror.freshness`` does.
    """
    parsed = parse_repo_name(repo_type, namespace, name)
    look_up = partial(get_caller, asker)
    await keep_mirrored(request, look_up, parsed.repo_type, parsed.namespace, parsed.name)
    return parsed


RepoNameDep = Annotated[RepoName, Depends(get_repo_name)]


def base_url(request: Request) -> str:
    """What absolute URLs in answers start with, without a trailing slash."""
    configured = get_hub(request).settings.public_url
    return configured.rstrip("/") if configured else str(request.base_url).rstrip("/")


def repo_url(request: Request, session: Session, repo: Repo) -> str:
    """Absolute URL of a repo's page, which is also what the clients parse its id from."""
    return f"{base_url(request)}/{repo_path_prefix(repo_type_of(repo))}{repo_id(session, repo)}"


def repo_type_of(repo: Repo) -> RepoType:
    """The type column, typed."""
    assert repo.type in {"model", "dataset", "space"}
    return repo.type  # pyright: ignore[reportReturnType]


def commit_url(request: Request, session: Session, repo: Repo, commit: Commit) -> str:
    """Absolute URL of a commit's page."""
    return f"{repo_url(request, session, repo)}/commit/{commit.oid}"


def _token_in(header: str) -> str:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # no base64, no ASCII, no UTF-8
            raise Unauthorized(BAD_CREDENTIALS) from None
        return password or user
    raise Unauthorized(BAD_CREDENTIALS)
