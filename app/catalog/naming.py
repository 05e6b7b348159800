"""Names of repositories: what they are looked up by, the names they had before, and their parts."""

from typing import Literal

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app.accounts.names import name_key
from app.db.inserting import upsert
from app.db.tables import FormerName, NameSuffix, Repo

RepoType = Literal["model", "dataset", "space"]

SUFFIX_NBYTES = 12
"""Kept of each suffix: enough to make a range small; the rest of a longer text is compared."""


def repo_key(repo_type: RepoType, namespace: str, name: str) -> str:
    """What a repo is looked up by."""
    return f"{repo_type}/{name_key(namespace)}/{name_key(name)}"


def key_without_type(key: str) -> str:
    """``namespace/name`` in lower case."""
    return key.partition("/")[2]


def take_name(session: Session, repo: Repo, *, former_key: str | None = None) -> None:
    """Make a repo that has just got its ``key`` be found by it, by parts of it, and by the old one.

    Whoever had the name before is not found by it any more.
    """
    session.execute(delete(FormerName).where(FormerName.key == repo.key))
    if former_key is not None and former_key != repo.key:
        row = {"key": former_key, "repo_id": repo.id}
        insertion = upsert(session, FormerName).values(row)
        session.execute(
            insertion.on_conflict_do_update(
                index_elements=[FormerName.key], set_={"repo_id": repo.id}
            )
        )
    session.execute(delete(NameSuffix).where(NameSuffix.repo_id == repo.id))
    session.execute(
        insert(NameSuffix),
        [{"type": repo.type, "text": text, "repo_id": repo.id} for text in suffixes(repo.key)],
    )


def find_by_former_name(session: Session, key: str) -> Repo | None:
    """The repo that once had this key, which nobody has now."""
    return session.scalar(
        select(Repo).join(FormerName, FormerName.repo_id == Repo.id).where(FormerName.key == key)
    )


def suffixes(key: str) -> list[bytes]:
    """The suffixes of a repo's name, cut to :data:`SUFFIX_NBYTES`, each once, in order."""
    text = key_without_type(key).encode()
    return sorted({text[at : at + SUFFIX_NBYTES] for at in range(len(text))})
