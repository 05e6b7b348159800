"""Families as a caller may see them: members, parents, and the bytes that each brings."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import readable_repos_clause
from app.accounts.tokens import Principal
from app.catalog.repos import repo_id as full_name
from app.db.tables import Content, Encoding, Family, FamilyMember, Repo, Segment, TreeEntry
from app.deltas.relatives import declared_bases


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A repository in its family."""

    repo_id: str
    """``namespace/name``."""
    private: bool
    is_root: bool
    declared_base: str | None
    declared_relation: str | None
    measured_parent: str | None
    """Null for the root, and where the caller may not read the parent."""
    agrees: bool | None
    """Whether the card and the measurement name the same parent; null if either names none."""
    bit_distance: float | None
    """Mean differing bits per element to the measured parent."""
    logical_nbytes: int
    """Every version of every file once."""
    stored_nbytes: int
    """Stored bytes of the contents that no earlier member has; sums up to the family's."""
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class ListedFamily:
    """A family with those members that the caller may read, the root first."""

    id: int
    root: str | None
    members: tuple[ListedMember, ...]

    @property
    def logical_nbytes(self) -> int:
        """Of all members listed."""
        return sum(member.logical_nbytes for member in self.members)

    @property
    def stored_nbytes(self) -> int:
        """Of all members listed."""
        return sum(member.stored_nbytes for member in self.members)


def list_families(
    session: Session, caller: Principal | None, *, after: int = 0, limit: int = 100
) -> list[ListedFamily]:
    """Families of which the caller may read a member, by id."""
    ids = session.scalars(
        select(Family.id)
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .join(Repo, Repo.id == FamilyMember.repo_id)
        .where(Family.id > after, readable_repos_clause(caller))
        .distinct()
        .order_by(Family.id)
        .limit(limit)
    ).all()
    return [found for each in ids if (found := find_family(session, caller, each)) is not None]


def find_family(session: Session, caller: Principal | None, family_id: int) -> ListedFamily | None:
    """One family; None if it does not exist for the caller."""
    rows = session.execute(
        select(FamilyMember, Repo)
        .join(Repo, Repo.id == FamilyMember.repo_id)
        .where(FamilyMember.family_id == family_id, readable_repos_clause(caller))
        .order_by(Repo.id)
    ).all()
    if not rows:
        return None
    root_id = session.scalar(select(Family.root_repo_id).where(Family.id == family_id))
    names = {repo.id: full_name(session, repo) for _, repo in rows}
    order = sorted(names, key=lambda repo_id: (repo_id != root_id, repo_id))
    logical = {repo_id: _logical_nbytes(session, repo_id) for repo_id in order}
    stored = _stored_nbytes(session, order)
    by_repo = {repo.id: (member, repo) for member, repo in rows}
    members = []
    for repo_id in order:
        member, repo = by_repo[repo_id]
        members.append(
            ListedMember(
                repo_id=names[repo_id],
                private=repo.private,
                is_root=repo_id == root_id,
                declared_base=member.declared_base,
                declared_relation=member.declared_relation,
                measured_parent=names.get(member.measured_parent_id or 0),
                agrees=_agrees(session, member, repo, names),
                bit_distance=member.bit_distance,
                logical_nbytes=logical[repo_id],
                stored_nbytes=stored[repo_id],
                measured_at=member.measured_at,
            )
        )
    return ListedFamily(family_id, names.get(root_id or 0), tuple(members))


def _agrees(
    session: Session, member: FamilyMember, repo: Repo, names: Mapping[int, str]
) -> bool | None:
    """Names compare case-insensitively; a base that is not on this hub was not measured."""
    if member.declared_base is None or member.measured_parent_id not in names:
        return None
    return member.measured_parent_id in declared_bases(session, repo, [member.declared_base])


def _logical_nbytes(session: Session, repo_id: int) -> int:
    versions = (
        select(TreeEntry.name, TreeEntry.file_id, TreeEntry.size)
        .where(TreeEntry.repo_id == repo_id, TreeEntry.file_id.is_not(None))
        .distinct()
    )
    return sum(size for _, _, size in session.execute(versions))


def _stored_nbytes(session: Session, repo_ids: Collection[int]) -> dict[int, int]:
    """Stored bytes of each repository's contents, shared ones counted for the first in order."""
    counted: set[int] = set()
    totals: dict[int, int] = {}
    for repo_id in repo_ids:
        rows = session.execute(
            select(Content.id, Encoding.nbytes)
            .join(Encoding, Encoding.content_id == Content.id)
            .join(Segment, Segment.content_id == Content.id)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .where(TreeEntry.repo_id == repo_id)
            .distinct()
        ).all()
        totals[repo_id] = sum(nbytes for content, nbytes in rows if content not in counted)
        counted.update(content for content, _ in rows)
    return totals
