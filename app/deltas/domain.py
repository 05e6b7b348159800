"""Which content may be the base of which: never somebody else's private tensor.

A delta's size tells how near its base is, so a private tensor as a base would leak into another
tenant's numbers (threat model, row 3), or into what strangers see of its own namespace's public
models. A base must be open to everybody, or to a namespace that holds the target; a private one
serves no target that is public. A base that turned private keeps its dependents and gets no new
ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.db.tables import AccessRequest, Repo, Segment, TreeEntry


@dataclass(frozen=True, slots=True)
class Holders:
    """Where a content is committed."""

    public: bool = False
    """Some repository with the content is neither private nor gated."""
    known: bool = False
    """Some repository with the content is not private."""
    namespaces: frozenset[int] = frozenset()
    """Accounts that own a repository with the content."""
    readers: frozenset[int] = frozenset()
    """Accounts that were let in to a gated one."""

    @property
    def is_orphan(self) -> bool:
        """No commit shows the content: it lives for its dependents only."""
        return not self.namespaces

    def may_serve(self, target: "Holders") -> bool:
        """Whether a content held like this may be the base of ``target``."""
        if self.public:
            return True
        if (self.namespaces | self.readers).isdisjoint(target.namespaces):
            return False
        return self.known or not target.known


NOBODY = Holders()


def load_holders(session: Session, content_ids: Iterable[int]) -> dict[int, Holders]:
    """Holders of contents by id; those that no commit shows get :data:`NOBODY`."""
    ids = sorted(set(content_ids))
    found: dict[int, Holders] = dict.fromkeys(ids, NOBODY)
    for at in range(0, len(ids), 1000):
        rows = session.execute(
            select(Segment.content_id, Repo.namespace_id, Repo.private, Repo.gated)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .where(Segment.content_id.in_(ids[at : at + 1000]))
            .distinct()
        )
        for content_id, namespace_id, private, gated in rows:
            held = found[content_id]
            found[content_id] = replace(
                held,
                public=held.public or not (private or gated),
                known=held.known or not private,
                namespaces=held.namespaces | {namespace_id},
            )
    for content_id, account_id in _let_in(session, [i for i in ids if found[i].known]):
        held = found[content_id]
        found[content_id] = replace(held, readers=held.readers | {account_id})
    return found


def may_serve_clause(target: Holders) -> ColumnElement[bool]:
    """:meth:`Holders.may_serve` as an SQL condition on a ``Repo`` that holds the base."""
    is_known, owners = Repo.private.is_(False), sorted(target.namespaces)
    let_in = (
        select(AccessRequest.id)
        .where(
            AccessRequest.repo_id == Repo.id,
            AccessRequest.account_id.in_(owners),
            AccessRequest.status == "accepted",
        )
        .exists()
    )
    own = Repo.namespace_id.in_(owners)
    return or_(
        is_known & Repo.gated.is_(None), is_known & (own | let_in), *([] if target.known else [own])
    )


def _let_in(session: Session, content_ids: list[int]) -> Iterator[tuple[int, int]]:
    """Contents of gated repositories with the accounts that may read them there."""
    for at in range(0, len(content_ids), 1000):
        rows = session.execute(
            select(Segment.content_id, AccessRequest.account_id)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .join(AccessRequest, AccessRequest.repo_id == Repo.id)
            .where(
                Segment.content_id.in_(content_ids[at : at + 1000]),
                Repo.private.is_(False),
                Repo.gated.is_not(None),
                AccessRequest.status == "accepted",
            )
            .distinct()
        )
        yield from ((content_id, account_id) for content_id, account_id in rows)


def held_by(
    session: Session, content_ids: Iterable[int], repo_ids: Iterable[int]
) -> frozenset[int]:
    """Those of the contents that are committed in one of the repositories."""
    ids, repos = sorted(set(content_ids)), sorted(set(repo_ids))
    found: set[int] = set()
    for at in range(0, len(ids) if repos else 0, 1000):
        found.update(
            session.scalars(
                select(Segment.content_id)
                .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
                .where(Segment.content_id.in_(ids[at : at + 1000]), TreeEntry.repo_id.in_(repos))
                .distinct()
            )
        )
    return frozenset(found)


def holding_repos(session: Session, content_ids: Iterable[int]) -> frozenset[int]:
    """Repositories in which some of the contents are committed."""
    ids = sorted(set(content_ids))
    found: set[int] = set()
    for at in range(0, len(ids), 1000):
        found.update(
            session.scalars(
                select(TreeEntry.repo_id)
                .join(Segment, Segment.file_id == TreeEntry.file_id)
                .where(Segment.content_id.in_(ids[at : at + 1000]))
                .distinct()
            )
        )
    return frozenset(found)
