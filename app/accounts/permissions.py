"""Who may see, read and write which repo, and whose bytes may be named.

A private repo does not exist for others. A gated one does, but its files are for the members of its
namespace and for those who were let in. Bytes are readable where a tree of a repo whose files are
readable names them: that, or having sent them, is the only way to use a file by its digest.
"""

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from app.accounts.domains import reachable_domains_clause
from app.accounts.tokens import Principal
from app.db.tables import AccessRequest, File, FileGrant, ProposedFile, Repo, TreeEntry


def readable_repos_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``Repo``: rows that exist for this principal (None: anonymous)."""
    if principal is None:
        return Repo.private == false()
    if principal.is_admin:
        return true()
    return or_(Repo.private == false(), _own_repos_clause(principal))


def open_repos_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``Repo``: rows whose files this principal may read."""
    if principal is None:
        return (Repo.private == false()) & Repo.gated.is_(None)
    if principal.is_admin:
        return true()
    let_in = (
        select(AccessRequest.id)
        .where(
            AccessRequest.repo_id == Repo.id,
            AccessRequest.account_id == principal.account_id,
            AccessRequest.status == "accepted",
        )
        .exists()
    )
    if principal.scope is not None:
        let_in = let_in & Repo.id.in_(principal.single_repos)
    return or_(
        _own_repos_clause(principal),
        (Repo.private == false()) & or_(Repo.gated.is_(None), let_in),
    )


def _own_repos_clause(principal: Principal) -> ColumnElement[bool]:
    """Repos whose private things are the principal's, by namespace or one by one."""
    whole = Repo.namespace_id.in_(principal.namespaces)
    if not principal.single_repos:
        return whole
    return whole | single_repos_clause(principal)


def single_repos_clause(principal: Principal) -> ColumnElement[bool]:
    """Repos that a fine-grained token names and that belong to an owner whom its user acts for."""
    return Repo.id.in_(principal.single_repos) & Repo.namespace_id.in_(principal.owners)


def can_read(_session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether the repo exists for this principal."""
    return not repo.private or _owns(principal, repo)


def _owns(principal: Principal | None, repo: Repo) -> bool:
    if is_member(principal, repo.namespace_id):
        return True
    return (
        principal is not None
        and repo.id in principal.single_repos
        and repo.namespace_id in principal.owners
    )


def can_open(session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether this principal may read the files of a repo that exists for him."""
    if repo.gated is None or _owns(principal, repo):
        return True
    if principal is None or (principal.scope and repo.id not in principal.scope.repos):
        return False
    accepted = select(AccessRequest.id).where(
        AccessRequest.repo_id == repo.id,
        AccessRequest.account_id == principal.account_id,
        AccessRequest.status == "accepted",
    )
    return session.scalar(accepted) is not None


def can_write(_session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether this principal may commit to, change and delete the repo."""
    if principal is None or not _writes(principal, repo):
        return False
    if principal.is_admin or principal.account_id == repo.namespace_id:
        return True
    match principal.orgs.get(repo.namespace_id):
        case "admin" | "write":
            return True
        case "contributor":
            return repo.creator_id == principal.account_id
        case _:
            return False


def can_discuss(session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether this principal may speak in the repo's discussions."""
    return principal is not None and _writes(principal, repo) and can_read(session, principal, repo)


def _writes(principal: Principal, repo: Repo) -> bool:
    if principal.scope is not None:
        return principal.scope.writes(repo.id, repo.namespace_id)
    return principal.role == "write"


def can_propose(session: Session, principal: Principal | None, repo: Repo) -> bool:
    """Whether this principal may open pull requests: whoever may read the files."""
    return can_discuss(session, principal, repo) and can_open(session, principal, repo)


def can_create(principal: Principal | None, namespace_id: int) -> bool:
    """Whether this principal may make repos under an account."""
    if principal is None or principal.role == "read":
        return False
    if principal.scope is not None and not principal.scope.namespaces.get(namespace_id, False):
        return False
    if principal.is_admin or principal.account_id == namespace_id:
        return True
    return principal.orgs.get(namespace_id) in {"admin", "write", "contributor"}


def can_administer(principal: Principal | None, org_id: int) -> bool:
    """Whether this principal may change an organisation and who belongs to it."""
    if principal is None or principal.role != "write":
        return False
    return principal.is_admin or principal.orgs.get(org_id) == "admin"


def is_member(principal: Principal | None, namespace_id: int) -> bool:
    """Whether the private things of a namespace exist for this principal."""
    return principal is not None and (principal.is_admin or namespace_id in principal.namespaces)


def can_read_file(session: Session, principal: Principal | None, file_id: int) -> bool:
    """Whether a tree of some repo whose files the principal may read names this file."""
    query = select(File.id).where(File.id == file_id, readable_file_clause(principal))
    return session.scalar(query) is not None


def readable_file_clause(principal: Principal | None) -> ColumnElement[bool]:
    """SQL condition on ``File``: some tree of a repo whose files are readable names it."""
    return (
        select(TreeEntry.file_id)
        .join(Repo, Repo.id == TreeEntry.repo_id)
        .where(TreeEntry.file_id == File.id, open_repos_clause(principal))
        .exists()
    )


def possessed_file_clause(
    session: Session, principal: Principal | None, repo: Repo
) -> ColumnElement[bool]:
    """SQL condition on ``File``: its bytes were sent to this repo, or may be read elsewhere.

    What its writers sent counts for all of them; somebody who only proposes has what he sent
    himself. Files that fail it look exactly like files that do not exist: ask for both in one
    query, so that neither answers nor their timing tell them apart.
    """
    if can_write(session, principal, repo):
        sent = select(FileGrant.file_id).where(
            FileGrant.file_id == File.id, FileGrant.repo_id == repo.id
        )
    else:
        sent = select(ProposedFile.file_id).where(
            ProposedFile.file_id == File.id,
            ProposedFile.repo_id == repo.id,
            ProposedFile.account_id == (principal.account_id if principal else None),
        )
    near = or_(reachable_domains_clause(principal), File.domain == repo.namespace_id)
    return near & or_(sent.exists(), readable_file_clause(principal))
