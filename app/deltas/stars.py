"""The stars around a tensor: who is stored against whom among its look-alikes."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding
from app.deltas.domain import Holders, load_holders
from app.deltas.neighbours import NEAREST, Tensor, same_shape_contents, self_contained
from app.deltas.prices import ALONE_CODECS, SketchPrices
from app.deltas.regroup import Regrouping, Star, best_opening
from app.deltas.sketches import load_sketches

MOST_LEAVES = 256
"""Deltas looked at around one tensor; of a bigger star some move now and some the next time."""

STRANGERS = 4
"""Contents that turned out unrelated after which farther ones are not looked at."""

MOST_RELATED = 48
"""Nearest contents of the same shape that a plan takes into account."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a regrouping around one tensor is planned from."""

    stars: tuple[Star, ...]
    prices: SketchPrices
    centres: tuple[int, ...]
    """Tensors that might become bases."""


def plan_around(
    session: Session, tensor: Tensor, preferred: Collection[int]
) -> tuple[Regrouping, tuple[Star, ...]] | None:
    """The best opening of ``tensor`` or one of its nearest, with the stars it starts from."""
    around = _look_around(session, tensor, preferred)
    if around is None:
        return None
    plan = best_opening(around.centres, around.stars, around.prices)
    return None if plan is None else (plan, around.stars)


def _look_around(
    session: Session, tensor: Tensor, preferred: Collection[int]
) -> Surroundings | None:
    mine = load_holders(session, [tensor.content_id])[tensor.content_id]
    # Whatever a public tensor might serve, and, for one that only serves on, its dependents.
    search: Holders | None = None if mine.public else mine
    near = _related(session, tensor, same_shape_contents(session, tensor, search, preferred))
    roots = set(self_contained(session, [tensor.content_id, *near]).values())
    leaves = session.execute(
        select(Encoding.content_id, Encoding.base_id)
        .where(Encoding.base_id.in_(roots))
        .order_by(Encoding.content_id)
        .limit(MOST_LEAVES)
    ).all()
    everyone = {tensor.content_id, *near, *roots, *(leaf for leaf, _ in leaves)}
    if len(everyone) < 2:
        return None
    rows = session.execute(
        select(Content.id, Content.nbytes, Encoding.base_id, Encoding.nbytes)
        .join(Encoding, Encoding.content_id == Content.id)
        .where(Content.id.in_(everyone), Content.health == "ok", Encoding.final.is_(True))
    ).all()
    there = {content for content, *_ in rows}
    if tensor.content_id not in there:
        return None
    holders = load_holders(session, there)
    stars = tuple(
        Star(
            root,
            tuple(leaf for leaf, base in leaves if base == root and leaf in there),
            orphan=holders[root].is_orphan,
        )
        for root in sorted(roots & there)
    )
    prices = SketchPrices(
        load_sketches(session, there),
        {content: nbytes for content, nbytes, _, _ in rows},
        holders,
        stored={content: (base, stored) for content, _, base, stored in rows},
    )
    return Surroundings(stars, prices, _centres(tensor, stars, prices))


def _related(session: Session, tensor: Tensor, contents: Collection[int]) -> list[int]:
    """Those of the contents that are nearer to the tensor than to nothing, the nearest first."""
    from codec import predict_from_sketches, sketch_distance

    sketches = load_sketches(session, [tensor.content_id, *contents])
    mine = sketches.get(tensor.content_id)
    if mine is None:
        return []
    near = sorted(
        (sketch_distance(mine, sketches[content]), content)
        for content in contents
        if content in sketches
    )
    related: list[int] = []
    strangers = 0
    for _, content in near[:MOST_RELATED]:
        estimates = predict_from_sketches(sketches[content], mine, tensor.nbytes).estimates
        if min(estimates, key=lambda name: estimates[name]) not in ALONE_CODECS:
            related.append(content)
        else:
            strangers += 1
        if strangers == STRANGERS:
            break
    return related


def _centres(tensor: Tensor, stars: tuple[Star, ...], prices: SketchPrices) -> tuple[int, ...]:
    """The tensor itself, and the deltas nearest to it: one that came earlier may be the better."""
    leaves = sorted(
        (leaf for star in stars for leaf in star.leaves if leaf != tensor.content_id),
        key=lambda leaf: (prices.distance(tensor.content_id, leaf), leaf),
    )
    return (tensor.content_id, *leaves[:NEAREST])
