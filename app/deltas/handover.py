"""What deltas would save by giving up a base that no commit shows any more, as predicted."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding
from app.deltas.domain import load_holders
from app.deltas.prices import SketchPrices
from app.deltas.regroup import Star, best_opening
from app.deltas.sketches import load_sketches
from app.deltas.stars import MOST_LEAVES


def predict_handover(session: Session, base_ids: Iterable[int]) -> int:
    """Stored bytes that the rebase job will save on these bases once they are orphans."""
    return sum(_saving(session, base_id) for base_id in sorted(base_ids))


def _saving(session: Session, base_id: int) -> int:
    rows = session.execute(
        select(Content.id, Content.nbytes, Encoding.base_id, Encoding.nbytes)
        .join(Encoding, Encoding.content_id == Content.id)
        .where((Encoding.base_id == base_id) | (Content.id == base_id), Content.health == "ok")
        .order_by(Content.id)
        .limit(MOST_LEAVES + 1)
    ).all()
    stored = {content: (base, nbytes) for content, _, base, nbytes in rows}
    leaves = tuple(content for content in stored if content != base_id)
    if base_id not in stored or not leaves:
        return 0
    prices = SketchPrices(
        load_sketches(session, stored),
        {content: nbytes for content, nbytes, _, _ in rows},
        load_holders(session, leaves),
        stored=stored,
    )
    plan = best_opening(leaves, [Star(base_id, leaves, orphan=True)], prices)
    if plan is None:
        return 0
    then = sum(
        prices.alone(move.content_id)
        if move.base_id is None
        else prices.delta(move.content_id, move.base_id) or prices.alone(move.content_id)
        for move in plan.moves
    )
    return stored[base_id][1] + sum(stored[move.content_id][1] for move in plan.moves) - then
