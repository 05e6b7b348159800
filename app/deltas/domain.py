"""Which content may be the base of which: never somebody else's private tensor.

A delta's size tells how near its base is, so a private tensor as a base would leak into another
tenant's numbers (threat model, row 3). A base must be public, or lie in a repository of a namespace
that also holds the target. A base that turned private keeps its dependents and gets no new ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Repo, Segment, TreeEntry


@dataclass(frozen=True, slots=True)
class Holders:
    """Where a content is committed."""

    public: bool = False
    namespaces: frozenset[int] = frozenset()
    """Accounts that own a repository with the content."""

    @property
    def is_orphan(self) -> bool:
        """No commit shows the content: it lives for its dependents only."""
        return not self.namespaces

    def may_serve(self, target: "Holders") -> bool:
        """Whether a content held like this may be the base of ``target``."""
        return self.public or not self.namespaces.isdisjoint(target.namespaces)


NOBODY = Holders()


def load_holders(session: Session, content_ids: Iterable[int]) -> dict[int, Holders]:
    """Holders of contents by id; those that no commit shows get :data:`NOBODY`."""
    ids = sorted(set(content_ids))
    found: dict[int, Holders] = dict.fromkeys(ids, NOBODY)
    for at in range(0, len(ids), 1000):
        rows = session.execute(
            select(Segment.content_id, Repo.namespace_id, Repo.private)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .where(Segment.content_id.in_(ids[at : at + 1000]))
            .distinct()
        )
        for content_id, namespace_id, private in rows:
            known = found[content_id]
            found[content_id] = Holders(
                public=known.public or not private, namespaces=known.namespaces | {namespace_id}
            )
    return found


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
