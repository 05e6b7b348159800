"""What the head of every page about a repo shows, for whoever looks at it."""

from dataclasses import dataclass

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.accounts.names import RESERVED
from app.accounts.permissions import can_open
from app.accounts.tokens import Principal
from app.api.deps import RepoName
from app.api.routing import RepoType, repo_path_prefix
from app.catalog.repos import repo_id
from app.catalog.threads import count_unfinished
from app.db.tables import Repo


@dataclass(frozen=True, slots=True)
class Head:
    """A repo as its pages name it."""

    repo: Repo
    repo_type: RepoType
    full_name: str
    open_threads: int
    is_open: bool
    """Whether the looker may read its files."""

    @property
    def address(self) -> str:
        """Path of its page below the hub's own, without a leading slash."""
        return f"{repo_path_prefix(self.repo_type)}{self.full_name}"

    @property
    def type_option(self) -> str:
        """What `hf discussions` and its like are given for the type; empty for a model."""
        return "" if self.repo_type == "model" else f" --type {self.repo_type}"


def read_head(session: Session, caller: Principal | None, name: RepoName) -> Head:
    """The head for a repo. Raises RepoNotFound; 404 for an address of the hub that does not exist.

    Gated repos have one for everybody.
    """
    if name.namespace.lower() in RESERVED:
        raise HTTPException(404)
    repo = name.find(session, caller)
    return Head(
        repo=repo,
        repo_type=name.repo_type,
        full_name=repo_id(session, repo),
        open_threads=count_unfinished(session, repo),
        is_open=can_open(session, caller, repo),
    )
