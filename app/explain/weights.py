"""What contents take in the store, as somebody is told it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.inserting import batches
from app.db.tables import Content, Encoding
from app.restore.homes import Home, find_homes, hidden_contents


@dataclass(frozen=True, slots=True)
class Weight:
    """One content."""

    raw_nbytes: int
    nbytes: int
    """Stored bytes; those of the raw content where a delta would tell of a hidden base."""
    base_id: int | None
    """None also for a hidden one."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Contents by id, and where their bases can be seen."""

    by_id: dict[int, Weight]
    base_homes: dict[int, Home]
    """Bases that are absent from it are shown by no repo any more."""

    def __or__(self, other: "Weights") -> "Weights":
        return Weights(self.by_id | other.by_id, self.base_homes | other.base_homes)

    def total(self, content_ids: Iterable[int]) -> int:
        """Stored bytes of contents."""
        return sum(self.by_id[content_id].nbytes for content_id in content_ids)


def weigh(session: Session, principal: Principal | None, content_ids: Collection[int]) -> Weights:
    """Look contents up."""
    rows: list[tuple[int, int, int, int | None]] = [
        (content_id, raw, stored, base_id)
        for ids in batches(sorted(content_ids))
        for content_id, raw, stored, base_id in session.execute(
            select(Content.id, Content.nbytes, Encoding.nbytes, Encoding.base_id)
            .join(Encoding, Encoding.content_id == Content.id)
            .where(Content.id.in_(ids))
        )
    ]
    bases = {base_id for *_, base_id in rows if base_id is not None}
    homes = find_homes(session, principal, bases)
    hidden = hidden_contents(session, bases, homes)
    by_id = {
        content_id: Weight(raw, raw, None) if base_id in hidden else Weight(raw, stored, base_id)
        for content_id, raw, stored, base_id in rows
    }
    return Weights(by_id, homes)
