"""Families as a caller may see them: members, parents, and the bytes that each brings."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.accounts.permissions import readable_repos_clause
from app.accounts.tokens import Principal
from app.catalog.repos import repo_id as full_name
from app.db.tables import Content, Encoding, Family, FamilyMember, Repo, Segment, TreeEntry
from app.deltas.relatives import declared_bases
from app.restore.homes import find_homes, hidden_contents

SIFTED = 10
"""Families looked at for each on a page."""


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A repository in its family."""

    repo_id: str
    """``namespace/name``."""
    private: bool
    is_root: bool
    declared_base: str | None
    """As the card says it, whether or not it exists here."""
    declared_here: bool | None
    """Whether the declared base is a repository that the caller may read; null without one."""
    declared_relation: str | None
    measured_parent: str | None
    """Null for the root, and where the caller may not read the parent."""
    relation: str | None
    """To the measured parent: ``duplicate`` (the same tensors), ``cast`` (the same values in
    another dtype) or ``finetune``; null without one."""
    agrees: bool | None
    """Whether the card and the measurement name the same parent, duplicates and casts standing for
    what they repeat; null if either names none."""
    bit_distance: float | None
    """Mean differing bits per element to the measured parent, at the precision that the family has
    in common."""
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
) -> tuple[list[ListedFamily], int | None]:
    """At most so many families of which the caller may read a member, by id; where to go on.

    A page looks at no more than ``SIFTED`` families for each that is asked for, so that whoever may
    read few of them does not wait for a walk over all: he gets shorter pages.
    """
    found: list[ListedFamily] = []
    for _ in range(SIFTED):
        some = select(Family.id).where(Family.id > after).order_by(Family.id).limit(limit)
        ids = session.scalars(some).all()
        readable = _readable_families(session, caller, ids)
        for family_id in ids:
            after = family_id
            family = find_family(session, caller, after) if after in readable else None
            found += [family] if family is not None else []
            if len(found) == limit:
                return found, after
        if len(ids) < limit:
            return found, None
    return found, after


def _readable_families(
    session: Session, caller: Principal | None, ids: Collection[int]
) -> Collection[int]:
    members = (
        select(FamilyMember.family_id)
        .join(Repo, Repo.id == FamilyMember.repo_id)
        .where(FamilyMember.family_id.in_(ids), readable_repos_clause(caller))
    )
    return set(session.scalars(members.distinct()))


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
    stored = _stored_nbytes(session, caller, order)
    by_repo = {repo.id: (member, repo) for member, repo in rows}
    places = {repo_id: member for repo_id, (member, _) in by_repo.items()}
    members = []
    for repo_id in order:
        member, repo = by_repo[repo_id]
        declared = _declared(session, caller, member, repo)
        members.append(
            ListedMember(
                repo_id=names[repo_id],
                private=repo.private,
                is_root=repo_id == root_id,
                declared_base=member.declared_base,
                declared_here=bool(declared) if member.declared_base else None,
                declared_relation=member.declared_relation,
                measured_parent=names.get(member.measured_parent_id or 0),
                relation=_relation(session, member, places),
                agrees=_agrees(member, declared, places),
                # Without a parent to show it would tell that there is one.
                bit_distance=member.bit_distance if member.measured_parent_id in names else None,
                logical_nbytes=logical[repo_id],
                stored_nbytes=stored[repo_id],
                measured_at=member.measured_at,
            )
        )
    return ListedFamily(family_id, names.get(root_id or 0), tuple(members))


def _declared(
    session: Session, caller: Principal | None, member: FamilyMember, repo: Repo
) -> list[int]:
    """The declared base, if it is here for the caller. Names compare case-insensitively."""
    if member.declared_base is None:
        return []
    named = declared_bases(session, repo, [member.declared_base])
    readable = select(Repo.id).where(Repo.id.in_(named), readable_repos_clause(caller))
    return list(session.scalars(readable))


def _agrees(
    member: FamilyMember, declared: Collection[int], places: Mapping[int, FamilyMember]
) -> bool | None:
    """A base that is not on this hub was not measured, but a parent that is was: no agreement."""
    parent = member.measured_parent_id
    if member.declared_base is None or parent is None or parent not in places:
        return None
    named = {_original(repo_id, places) for repo_id in declared}
    beyond = places[_original(member.repo_id, places)].measured_parent_id
    meant = {_original(repo_id, places) for repo_id in (parent, beyond) if repo_id is not None}
    return not named.isdisjoint(meant)


def _original(repo_id: int, places: Mapping[int, FamilyMember]) -> int:
    """What a duplicate or cast repeats, as far as the caller may see it; others are their own."""
    seen: set[int] = set()
    while repo_id in places and repo_id not in seen:
        seen.add(repo_id)
        parent = places[repo_id].measured_parent_id
        if parent is None or parent not in places or places[repo_id].bit_distance != 0.0:
            break
        repo_id = parent
    return repo_id


def _relation(
    session: Session, member: FamilyMember, places: Mapping[int, FamilyMember]
) -> str | None:
    parent = member.measured_parent_id
    if parent is None or parent not in places:
        return None
    if member.bit_distance != 0.0:
        return "finetune"
    mine, theirs = (_tensors(session, i) for i in (member.repo_id, parent))
    if mine.keys() <= theirs.keys():
        return "duplicate"
    return "finetune" if set(mine.values()) <= set(theirs.values()) else "cast"


def _tensors(session: Session, repo_id: int) -> dict[int, str | None]:
    """Contents of all versions of a repository's tensors, with their dtypes."""
    rows = session.execute(_segments(repo_id).where(Segment.role == "tensor").distinct())
    return {row.content_id: row.dtype for row in rows}


def _segments(repo_id: int) -> Select[int, str | None]:
    """Content and dtype of the segments of every file that a repository has in some version.

    Versions mostly repeat files: each is looked at once, however many of them name it.
    """
    files = (
        select(TreeEntry.file_id)
        .where(TreeEntry.repo_id == repo_id, TreeEntry.file_id.is_not(None))
        .distinct()
        .subquery()
    )
    return select(Segment.content_id, Segment.dtype).join(files, files.c.file_id == Segment.file_id)


def _logical_nbytes(session: Session, repo_id: int) -> int:
    versions = (
        select(TreeEntry.name, TreeEntry.file_id, TreeEntry.size)
        .where(TreeEntry.repo_id == repo_id, TreeEntry.file_id.is_not(None))
        .distinct()
    )
    return sum(size for _, _, size in session.execute(versions))


def _stored_nbytes(
    session: Session, caller: Principal | None, repo_ids: Collection[int]
) -> dict[int, int]:
    """Stored bytes of each repository's contents, shared ones counted for the first in order.

    Deltas against bases that the caller may not read count as what they stand for.
    """
    counted: set[int] = set()
    totals: dict[int, int] = {}
    for repo_id in repo_ids:
        mine = _segments(repo_id).with_only_columns(Segment.content_id).distinct().subquery()
        rows = session.execute(
            select(Content.id, Content.nbytes, Encoding.nbytes, Encoding.base_id)
            .join(mine, mine.c.content_id == Content.id)
            .join(Encoding, Encoding.content_id == Content.id)
        ).all()
        bases = {base for *_, base in rows if base is not None}
        hidden = hidden_contents(session, bases, find_homes(session, caller, bases))
        totals[repo_id] = sum(
            raw if base in hidden else stored
            for content, raw, stored, base in rows
            if content not in counted
        )
        counted.update(content for content, *_ in rows)
    return totals
