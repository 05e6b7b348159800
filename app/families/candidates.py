"""Repositories that a model is compared with: likely relatives, however they became known."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Encoding, Family, FamilyMember, Repo, Segment, TreeEntry
from app.families.models import Model

MOST_RELATIVES = 48
"""Repositories compared in one measurement; bigger families are measured around the newcomer."""


class Proposed(NamedTuple):
    """Likely relatives of a repository, likeliest first."""

    compared: list[int]
    """With these it is compared: public ones and, if it is private, those of its namespace."""
    private: list[int]
    """These are to be compared with it, each in a measurement of its own: what is written about a
    public repository follows from public ones alone."""


def propose_relatives(session: Session, model: Model, declared: Sequence[int]) -> Proposed:
    """Likely relatives: declared, its root, its family, its architecture, sharing."""
    repo = model.repo
    mine = {tensor.content_id for tensor in model.tensors.values()}
    found: dict[int, None] = dict.fromkeys(declared)
    for condition in (
        FamilyMember.family_id.in_(
            select(FamilyMember.family_id).where(FamilyMember.repo_id == repo.id)
        ),
        FamilyMember.signature == model.signature,
    ):
        roots = (
            select(Family.root_repo_id)
            .join(FamilyMember, FamilyMember.family_id == Family.id)
            .where(condition, Family.root_repo_id.is_not(None))
            .distinct()
        )
        others = select(FamilyMember.repo_id).where(condition).order_by(FamilyMember.repo_id)
        for query in (roots.order_by(Family.root_repo_id), others):
            found.update((each, None) for each in session.scalars(query.limit(MOST_RELATIVES)))
    found.update(dict.fromkeys(_sharing(session, mine)))
    found.pop(repo.id, None)
    proposed = Proposed([], [])
    rows = session.execute(
        select(Repo.id, Repo.private, Repo.namespace_id).where(
            Repo.id.in_(list(found)), Repo.type == "model"
        )
    )
    owner_of = {row.id: row.namespace_id if row.private else None for row in rows}
    for repo_id in (each for each in found if each in owner_of):
        owner = owner_of[repo_id]
        if owner is None or (repo.private and owner == repo.namespace_id):
            proposed.compared.append(repo_id)
        elif not repo.private:
            proposed.private.append(repo_id)
    return Proposed(proposed.compared[:MOST_RELATIVES], proposed.private[:MOST_RELATIVES])


def _sharing(session: Session, contents: Collection[int]) -> list[int]:
    """Repositories that hold the same contents, their bases or their dependents; nearest first."""
    ids = sorted(contents)
    stars: set[int] = set(ids)
    for at in range(0, len(ids), 1000):
        batch = ids[at : at + 1000]
        for query in (
            select(Encoding.base_id).where(Encoding.content_id.in_(batch)),
            select(Encoding.content_id).where(Encoding.base_id.in_(batch)),
        ):
            stars.update(content for content in session.scalars(query) if content is not None)
    shared: dict[int, int] = {}
    ids = sorted(stars)
    for at in range(0, len(ids), 1000):
        rows = session.execute(
            select(TreeEntry.repo_id, func.count(Segment.content_id.distinct()))
            .join(Segment, Segment.file_id == TreeEntry.file_id)
            .where(Segment.content_id.in_(ids[at : at + 1000]))
            .group_by(TreeEntry.repo_id)
        )
        for repo_id, count in rows:
            shared[repo_id] = shared.get(repo_id, 0) + count
    return sorted(shared, key=lambda repo_id: (-shared[repo_id], repo_id))[:MOST_RELATIVES]
