"""The stars around a tensor: who is stored against whom among its look-alikes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding
from app.deltas.domain import Holders, held_by, holding_repos, load_holders
from app.deltas.neighbours import NEAREST, Tensor, row_variants, same_shape_contents, self_contained
from app.deltas.prices import ALONE_CODECS, RootPrices, SketchPrices
from app.deltas.regroup import Move, Regrouping, Star, openings
from app.deltas.rejections import key_of, known_failures
from app.deltas.relatives import Relatives, family_roots
from app.deltas.sketches import load_sketches
from app.deltas.variants import (
    MOST_VARIANTS,
    Variant,
    load_variants,
    price_variants,
    variant_pairs,
)
from app.hub import Hub

MOST_LEAVES = 256
"""Deltas looked at around one tensor; of a bigger star some move now and some the next time."""

STRANGERS = 4
"""Contents that turned out unrelated after which farther ones are not looked at."""

MOST_BITS = 64.0
"""Distance to what a tensor cannot be compared with."""

ASKED = 16
"""Contents by which it is told how far a content is from all around it."""

MOST_RELATED = 48
"""Nearest contents of the same shape that a plan takes into account."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a regrouping around one tensor is planned from."""

    stars: tuple[Star, ...]
    prices: RootPrices
    stored: Mapping[int, int]
    """Stored bytes of all of them."""
    centres: tuple[int, ...]
    """Tensors that might become bases."""
    variants: Mapping[int, Variant]
    """Those with other row counts, and what they are compared with."""
    pairs: tuple[tuple[int, int], ...]
    """Content and base that only their bytes can price."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A regrouping, and the stars it starts from."""

    regrouping: Regrouping
    stars: tuple[Star, ...]
    stored: Mapping[int, int]
    """Stored bytes of contents as they are."""

    @property
    def key(self) -> bytes:
        """What it is remembered by if it does not pay."""
        moved = [
            (move.content_id, move.base_id, self.stored[move.content_id]) for move in self.moves
        ]
        return key_of(moved, [(content, self.stored[content]) for content in self.abandoned])

    @property
    def moves(self) -> tuple[Move, ...]:
        """Who is stored how from now on."""
        return self.regrouping.moves

    @property
    def touched(self) -> frozenset[int]:
        """Contents that move and the bases they move to."""
        bases = {move.base_id for move in self.moves if move.base_id is not None}
        return frozenset({move.content_id for move in self.moves} | bases)

    @property
    def abandoned(self) -> frozenset[int]:
        """Bases that no commit shows and that lose all their deltas: they go."""
        moving = {move.content_id for move in self.moves}
        left = (star.root for star in self.stars if star.orphan and moving.issuperset(star.leaves))
        return frozenset(left)

    def stages(self) -> list[list[Move]]:
        """What becomes self-contained first, then the leaves, last the bases that become deltas."""
        roots = {star.root for star in self.stars}
        stages: list[list[Move]] = [[], [], []]
        for move in self.moves:
            stages[0 if move.base_id is None else 2 if move.content_id in roots else 1].append(move)
        return stages


def plan_around(
    hub: Hub, tensor: Tensor, relatives: Relatives, allowance: float = 0.0
) -> Planned | None:
    """The best opening of ``tensor`` or one near to it; None if none is worth it.

    What is known to disappoint is left out. ``allowance``: share by which it may do so.
    """
    with hub.db.read() as session:
        around = _look_around(session, tensor, relatives)
    if around is None:
        return None
    price_variants(hub, around.prices.prices, around.variants, around.pairs)
    plans = [
        Planned(plan, around.stars, around.stored)
        for plan in openings(around.centres, around.stars, around.prices)
    ]
    if not plans:
        return None
    with hub.db.read() as session:
        failures = known_failures(session, [plan.key for plan in plans], allowance)
    return next((plan for plan in plans if plan.key not in failures), None)


def _look_around(session: Session, tensor: Tensor, relatives: Relatives) -> Surroundings | None:
    mine = load_holders(session, [tensor.content_id])[tensor.content_id]
    # Whatever a public tensor might serve, and, for one that only serves on, its dependents.
    search: Holders | None = None if mine.public else mine
    near = _related(session, tensor, same_shape_contents(session, tensor, search, relatives.repos))
    variants = row_variants(session, tensor, relatives.repos)[:MOST_VARIANTS]
    roots = set(self_contained(session, [tensor.content_id, *near, *variants]).values())
    leaves = session.execute(
        select(Encoding.content_id, Encoding.base_id)
        .where(Encoding.base_id.in_(roots))
        .order_by(Encoding.content_id)
        .limit(MOST_LEAVES)
    ).all()
    everyone = {tensor.content_id, *near, *variants, *roots, *(leaf for leaf, _ in leaves)}
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
    # A newcomer is in no family yet, but who is around it may be.
    roots_around = family_roots(session, holding_repos(session, there))
    of_root = held_by(session, there, relatives.roots | roots_around)
    centres = _centres(tensor, stars, prices, of_root)
    compared = {tensor.content_id} | (of_root & set(centres))
    known = load_variants(session, [*variants, *compared] if variants else ())
    pairs = variant_pairs(known, sorted(compared), sorted(set(variants) & there))
    stored_nbytes = {content: nbytes for content, _, _, nbytes in rows}
    weighed = RootPrices(prices, of_root)
    return Surroundings(stars, weighed, stored_nbytes, centres, known, tuple(pairs))


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
        estimates = predict_from_sketches(sketches[content], mine).estimates
        if min(estimates, key=lambda name: estimates[name]) not in ALONE_CODECS:
            related.append(content)
        else:
            strangers += 1
        if strangers == STRANGERS:
            break
    return related


def _centres(
    tensor: Tensor, stars: tuple[Star, ...], prices: SketchPrices, of_root: Collection[int]
) -> tuple[int, ...]:
    """Who may be the better base: the tensor, its nearest deltas, the root's, the middle one."""
    leaves = sorted(
        (leaf for star in stars for leaf in star.leaves if leaf != tensor.content_id),
        key=lambda leaf: (prices.distance(tensor.content_id, leaf), leaf),
    )
    everyone = sorted({tensor.content_id, *leaves, *(star.root for star in stars)})
    asked = everyone[:: -(-len(everyone) // ASKED)]
    middle = min(leaves, key=lambda leaf: (_remoteness(leaf, asked, prices), leaf), default=None)
    roots = [leaf for leaf in leaves if leaf in of_root][:NEAREST]
    others = [*leaves[:NEAREST], *roots, *([] if middle is None else [middle])]
    return tuple(dict.fromkeys((tensor.content_id, *others)))


def _remoteness(content_id: int, others: Collection[int], prices: SketchPrices) -> float:
    """Sum of distances; whom it does not compare with counts as much as all bits."""
    return sum(min(prices.distance(content_id, other), MOST_BITS) for other in others)
