"""Regroupings that were coded and did not pay, remembered: predictions would propose them for ever.

What coding yields depends on the tensors, their bases and the encoder, and whether it pays on how
they are stored now. All of that is the key, so a regrouping that anything changed for is tried.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from blake3 import blake3
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.inserting import upsert
from app.db.tables import Rejection
from app.deltas.coding import ENCODER
from app.hub import Hub

KEPT_S = 90 * 24 * 3600.0
"""After this a regrouping is tried again: rows of inputs that are no more do not pile up."""

Moved = tuple[int, int | None, int]
"""Content, its base from then on, and its stored bytes before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a regrouping came to."""

    key: bytes
    content_id: int
    """One of those that move: with it the memory goes."""
    saving_nbytes: int
    """Stored bytes; negative if they would be more."""
    was_nbytes: int
    """Of how many."""

    def pays(self, allowance: float) -> bool:
        """Whether it is carried out. ``allowance``: by what share it may be larger."""
        return self.saving_nbytes > -allowance * self.was_nbytes


def key_of(moves: Iterable[Moved], abandoned: Iterable[tuple[int, int]]) -> bytes:
    """What a regrouping is remembered by; ``abandoned``: bases that go, with stored bytes."""
    said = [ENCODER, sorted(moves, key=lambda move: move[0]), sorted(abandoned)]
    return blake3(json.dumps(said).encode()).digest()


def known_failures(session: Session, keys: Collection[bytes], allowance: float) -> set[bytes]:
    """Those of the keys whose regrouping was coded before and does not pay."""
    rows = session.scalars(select(Rejection).where(Rejection.key.in_(keys)))
    found = (Outcome(row.key, row.content_id, row.saving_nbytes, row.was_nbytes) for row in rows)
    return {each.key for each in found if not each.pays(allowance)}


def remember(session: Session, hub: Hub, outcomes: Iterable[Outcome]) -> None:
    """Keep what was rejected."""
    now = hub.clock.now()
    for each in outcomes:
        row = upsert(session, Rejection).values(
            key=each.key,
            content_id=each.content_id,
            saving_nbytes=each.saving_nbytes,
            was_nbytes=each.was_nbytes,
            found_at=now,
        )
        session.execute(row.on_conflict_do_nothing())


def forget_old(session: Session, hub: Hub) -> None:
    """Drop what was rejected long ago."""
    before = hub.clock.now() - timedelta(seconds=KEPT_S)
    session.execute(delete(Rejection).where(Rejection.found_at < before))
