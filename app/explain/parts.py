"""The tensors of one file: what each is stored against, who holds it, whose deltas need it."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.tables import Repo, Segment
from app.explain.fates import contents_of, dependents_of, foresee
from app.explain.removals import Removal, held_files
from app.explain.weights import weigh
from app.hub import Hub
from app.restore.homes import Home, first_holders, shown_contents

MOST_HOMES = 20
"""Repos named per tensor."""

Fate = Literal["freed", "shared", "pinned"]


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a file."""

    name: str | None
    role: str
    logical_nbytes: int
    stored_nbytes: int
    base: Home | None
    """Where its base can be seen; None if it is stored alone, or nowhere."""
    holders: list[Home]
    """Other repos that hold it."""
    dependents: list[Home]
    """Other repos that hold deltas against it."""
    without_repo: Fate
    """What becomes of it when the repo is deleted."""


def explain_parts(
    session: Session, hub: Hub, principal: Principal | None, repo: Repo, file_id: int
) -> list[Part]:
    """The segments of a file of a repo in order, as far as the principal may know of them."""
    segments = session.scalars(
        select(Segment).where(Segment.file_id == file_id).order_by(Segment.start)
    ).all()
    contents = {segment.content_id for segment in segments}
    weights = weigh(session, principal, contents)
    files = held_files(session, hub, repo, Removal()).shown | {file_id}
    elsewhere = shown_contents(session, principal, contents_of(session, files), besides=repo.id)
    holders = first_holders(session, principal, contents, most=MOST_HOMES, besides=repo.id)
    deltas = dependents_of(session, contents)
    needing = {delta.content_id for delta in deltas}
    homes = first_holders(session, principal, needing, most=MOST_HOMES, besides=repo.id)
    dependents: dict[int, list[Home]] = {}
    for delta in deltas:
        dependents.setdefault(delta.base_id, []).extend(homes.get(delta.content_id, ()))
    fates = foresee(session, principal, repo, files, (), elsewhere)

    def fate(content_id: int) -> Fate:
        if content_id in fates.shared:
            return "shared"
        return "pinned" if content_id in fates.pinned else "freed"

    parts: list[Part] = []
    for segment in segments:
        content_id = segment.content_id
        weight = weights.by_id[content_id]
        base = None if weight.base_id is None else weights.base_homes.get(weight.base_id)
        parts.append(
            Part(
                name=segment.name,
                role=segment.role,
                logical_nbytes=segment.nbytes,
                stored_nbytes=weight.nbytes,
                base=base,
                holders=holders.get(content_id, []),
                dependents=list(dict.fromkeys(dependents.get(content_id, ())))[:MOST_HOMES],
                without_repo=fate(content_id),
            )
        )
    return parts
