"""Who may read and write which repo, and whose bytes may be named.

A private repo does not exist for others. Bytes are readable where a tree of a readable repo names
them: that, or having sent them, is the only way to use a file by its digest.
"""

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.tables import File, FileGrant, Repo, TreeEntry


def readable_repos_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``Repo``: rows that exist for this principal (None: anonymous)."""
    if principal is None:
        return Repo.private == false()
    if principal.is_admin:
        return true()
    return or_(Repo.private == false(), Repo.namespace_id.in_(_namespaces(principal)))


def can_read(_session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether the repo exists for this principal."""
    if not repo.private:
        return True
    return principal is not None and (
        principal.is_admin or repo.namespace_id in _namespaces(principal)
    )


def can_write(_session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether this principal may commit to, change and delete the repo."""
    return can_write_namespace(principal, repo.namespace_id)


def can_write_namespace(principal: Principal | None, namespace_id: int) -> bool:
    """Whether this principal may create repos under an account and write to them."""
    if principal is None or principal.role != "write":
        return False
    if principal.is_admin or principal.account_id == namespace_id:
        return True
    return principal.orgs.get(namespace_id) in {"admin", "write"}


def can_read_file(session: Session, principal: Principal | None, file_id: int) -> bool:
    """Whether a tree of some repo that the principal may read names this file."""
    query = select(File.id).where(File.id == file_id, readable_file_clause(principal))
    return session.scalar(query) is not None


def readable_file_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``File``: some tree of a readable repo names it."""
    return (
        select(TreeEntry.file_id)
        .join(Repo, Repo.id == TreeEntry.repo_id)
        .where(TreeEntry.file_id == File.id, readable_repos_clause(principal))
        .exists()
    )


def possessed_file_clause(principal: Principal | None, repo_id: int) -> ColumnElement[bool]:
    """SQL condition on ``File``: its bytes were sent to this repo, or may be read elsewhere.

    Files that fail it look exactly like files that do not exist: ask for both in one query, so that
    neither answers nor their timing tell them apart.
    """
    granted = (
        select(FileGrant.file_id)
        .where(FileGrant.file_id == File.id, FileGrant.repo_id == repo_id)
        .exists()
    )
    return or_(granted, readable_file_clause(principal))


def _namespaces(principal: Principal) -> list[int]:
    return [principal.account_id, *principal.orgs]
