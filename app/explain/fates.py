"""What becomes of contents when files go: freed, or kept by whom.

A content lives while a file that some commit shows consists of it, or a delta that lives needs it
as its base. Whoever asks is told of what he may read: others' files and deltas keep bytes without
showing in his answer. Administrators see all of it, and what they are told is what happens. Leases
and uploads on their way, which hold bytes for a while, are left out: they tell of others' work.
"""

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.inserting import batches
from app.db.tables import Encoding, Repo, Segment
from app.restore.homes import hidden_contents, shown_contents


@dataclass(frozen=True, slots=True)
class Dependent:
    """A delta that needs a base."""

    content_id: int
    base_id: int
    nbytes: int
    """Stored bytes."""


@dataclass(slots=True)
class Fates:
    """Contents of the files that go."""

    freed: set[int] = field(default_factory=set)
    used_here: set[int] = field(default_factory=set)
    """Kept by what is left of the repo."""
    shared: set[int] = field(default_factory=set)
    """Kept by files of other repos."""
    pinned: dict[int, list[Dependent]] = field(default_factory=dict)
    """Bases, with the deltas that keep them."""
    released: set[int] = field(default_factory=set)
    """Bases that no file shows and that nothing needs once the deltas among the freed are gone."""


def foresee(
    session: Session,
    principal: Principal | None,
    repo: Repo,
    going: Collection[int],
    left: Collection[int],
    elsewhere: Container[int],
) -> Fates:
    """The fates of the contents of files ``going`` of a repo, of which files ``left`` stay.

    ``elsewhere``: those that other repos hold whose files the principal may read.
    """
    contents = contents_of(session, going)
    fates = Fates(used_here=contents & contents_of(session, left))
    fates.shared = {each for each in contents - fates.used_here if each in elsewhere}
    loose = contents - fates.used_here - fates.shared
    living = _living(session, principal, repo, dependents_of(session, loose), loose, fates)
    for delta in living:
        fates.pinned.setdefault(delta.base_id, []).append(delta)
    fates.freed = loose - fates.pinned.keys()
    fates.released = _released(session, principal, repo, fates)
    return fates


def contents_of(session: Session, file_ids: Collection[int]) -> set[int]:
    """What files consist of."""
    return {
        content_id
        for ids in batches(sorted(file_ids))
        for content_id in session.scalars(
            select(Segment.content_id).where(Segment.file_id.in_(ids)).distinct()
        )
    }


def dependents_of(session: Session, content_ids: Iterable[int]) -> list[Dependent]:
    """Deltas against these contents."""
    return [
        Dependent(*row)
        for ids in batches(sorted(content_ids))
        for row in session.execute(
            select(Encoding.content_id, Encoding.base_id, Encoding.nbytes)
            .where(Encoding.base_id.in_(ids))
            .order_by(Encoding.content_id)
        )
    ]


def _living(
    session: Session,
    principal: Principal | None,
    repo: Repo,
    deltas: Collection[Dependent],
    loose: Collection[int],
    fates: Fates,
) -> list[Dependent]:
    """Those of the deltas that stay, as far as the principal may know."""
    others = {delta.content_id for delta in deltas} - fates.used_here - fates.shared - set(loose)
    kept = fates.used_here | fates.shared
    kept |= shown_contents(session, principal, others, besides=repo.id)
    return [delta for delta in deltas if delta.content_id in kept]


def _released(session: Session, principal: Principal | None, repo: Repo, fates: Fates) -> set[int]:
    bases = {
        base_id
        for ids in batches(sorted(fates.freed))
        for base_id in session.scalars(
            select(Encoding.base_id)
            .where(Encoding.content_id.in_(ids), Encoding.base_id.is_not(None))
            .distinct()
        )
        if base_id is not None
    }
    orphans = bases - hidden_contents(session, bases, homes={})
    living = _living(session, principal, repo, dependents_of(session, orphans), fates.freed, fates)
    return orphans - {delta.base_id for delta in living}
