"""When another tensor would be the better base: facility location, one opening at a time.

Tensors of one shape form stars: a base and the deltas against it. Opening a tensor as a base pays
if what the others save by moving to it is more than what it costs to store it alone; a star may
move as a whole, its base becoming a delta too. Every opening lowers the predicted total by more
than the margin, so the process ends, and it ends at about the same size whatever the order of
uploads was (the local moves of FlexSplit, arXiv 2604.17104, made incremental).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

REGROUP_MARGIN = 0.01
"""Share of the affected stored bytes that a regrouping must save: it rewrites them."""

ASKED = 8
"""Leaves that speak for all that are about as near to a new base as to theirs, if more are."""


class Costs(Protocol):
    """Predicted stored bytes."""

    def alone(self, content_id: int) -> int:
        """Without a base."""
        ...

    def delta(self, content_id: int, base_id: int) -> int | None:
        """Against a base; None where the base may not be used or does not compare."""
        ...

    def is_farther(self, content_id: int, base_id: int, than: int) -> bool:
        """Whether it is plain without prices that a delta against ``than`` is shorter."""
        ...


@dataclass(frozen=True, slots=True)
class Star:
    """A content stored alone and the contents stored as deltas against it."""

    root: int
    leaves: tuple[int, ...] = ()
    orphan: bool = False
    """No commit shows the root: once it has no leaves, it and its bytes go."""


@dataclass(frozen=True, slots=True)
class Move:
    """Store a content against this base from now on; None: alone."""

    content_id: int
    base_id: int | None


@dataclass(frozen=True, slots=True)
class Regrouping:
    """Moves in an order in which every base is self-contained at every moment."""

    moves: tuple[Move, ...]
    saving: int
    """Predicted stored bytes."""


@dataclass(frozen=True, slots=True)
class _Part:
    moves: tuple[Move, ...] = ()
    gain: int = 0
    affected: int = 0


def plan_opening(centre: int, stars: Sequence[Star], costs: Costs) -> Regrouping | None:
    """The moves that make ``centre`` a base, or None if they save too little."""
    home = next((star for star in stars if centre in star.leaves), None)
    price = 0
    opening: tuple[Move, ...] = ()
    if home is not None:
        price = costs.alone(centre) - _against(costs, centre, home.root)
        opening = (Move(centre, None),)
    others = [star for star in stars if star.root != centre]
    if not _promises(centre, others, costs, price):
        return None
    parts = [
        _better(_some_leaves(centre, star, costs), _whole_star(centre, star, costs))
        for star in others
    ]
    saving = sum(part.gain for part in parts) - price
    # Where a whole star moves, one content more and one less is alone: what is there counts once.
    affected = max(sum(part.affected for part in parts), price)
    if saving <= REGROUP_MARGIN * affected:
        return None
    return Regrouping(
        moves=opening + tuple(move for part in parts for move in part.moves), saving=saving
    )


def openings(centres: Iterable[int], stars: Sequence[Star], costs: Costs) -> list[Regrouping]:
    """Those that are worth it, the one that saves most first."""
    plans = [plan for centre in centres if (plan := plan_opening(centre, stars, costs))]
    return sorted(plans, key=lambda plan: -plan.saving)


def best_opening(centres: Iterable[int], stars: Sequence[Star], costs: Costs) -> Regrouping | None:
    """The opening that saves most, None if none is worth it."""
    return next(iter(openings(centres, stars, costs)), None)


def _promises(centre: int, stars: Sequence[Star], costs: Costs, price: int) -> bool:
    """Whether an opening may be worth it, as some leaves of each star have it."""
    some = [(star, _guess_some(centre, star, costs)) for star in stars]
    # If the leaves that are farther lost nothing by moving as well.
    most = sum(part.gain + (_gain_of_root(centre, star, costs) or 0) for star, part in some)
    if most - price <= REGROUP_MARGIN * price:
        return False
    parts = [_better(part, _guess_whole(centre, star, costs)) for star, part in some]
    affected = max(sum(part.affected for part in parts), price)
    # Half of the margin: where some cannot tell, all are asked.
    return sum(part.gain for part in parts) - price > REGROUP_MARGIN / 2 * affected


def _guess_some(centre: int, star: Star, costs: Costs) -> _Part:
    """As :func:`_some_leaves`, from all leaves that are plainly nearer and some of the rest."""
    plain: list[int] = []
    rest: list[int] = []
    for leaf in _others(centre, star):
        if not costs.is_farther(leaf, centre, star.root):
            (plain if costs.is_farther(leaf, star.root, centre) else rest).append(leaf)
    sure = _gaining(centre, star, plain, costs)
    likely = _scaled(_gaining(centre, star, _asked(rest), costs), rest)
    return _Part((), sure.gain + likely.gain, sure.affected + likely.affected)


def _guess_whole(centre: int, star: Star, costs: Costs) -> _Part | None:
    """As :func:`_whole_star`, from some leaves."""
    leaves, of_root = _others(centre, star), _gain_of_root(centre, star, costs)
    if of_root is None:
        return None
    part = _scaled(_leave(centre, star, _asked(leaves), costs), leaves)
    return _Part((), part.gain + of_root, part.affected + costs.alone(star.root))


def _asked(leaves: Sequence[int]) -> list[int]:
    """Some of them, evenly spaced; all if they are few."""
    count = min(len(leaves), ASKED)
    return [leaves[n * len(leaves) // count] for n in range(count)]


def _scaled(part: _Part, leaves: Sequence[int]) -> _Part:
    """What those who were asked said, for all of them."""
    asked = min(len(leaves), ASKED) or 1
    return _Part((), part.gain * len(leaves) // asked, part.affected * len(leaves) // asked)


def _some_leaves(centre: int, star: Star, costs: Costs) -> _Part:
    """Leaves that are nearer to ``centre`` move, the others and the root stay."""
    near = [leaf for leaf in _others(centre, star) if not costs.is_farther(leaf, centre, star.root)]
    return _gaining(centre, star, near, costs)


def _gaining(centre: int, star: Star, leaves: Sequence[int], costs: Costs) -> _Part:
    """Those of the leaves that are smaller against ``centre``."""
    moves, gain, affected = [], 0, 0
    for leaf in leaves:
        now, then = _against(costs, leaf, star.root), costs.delta(leaf, centre)
        if then is not None and then < now:
            moves.append(Move(leaf, centre))
            gain += now - then
            affected += now
    return _Part(tuple(moves), gain, affected)


def _whole_star(centre: int, star: Star, costs: Costs) -> _Part | None:
    """Every leaf leaves the root, which then becomes a delta itself (or goes, if an orphan)."""
    of_root = _gain_of_root(centre, star, costs)
    if of_root is None:
        return None
    part = _leave(centre, star, _others(centre, star), costs)
    moves = part.moves if star.orphan else (*part.moves, Move(star.root, centre))
    return _Part(moves, part.gain + of_root, part.affected + costs.alone(star.root))


def _leave(centre: int, star: Star, leaves: Sequence[int], costs: Costs) -> _Part:
    """These leaves leave the root, for ``centre`` or for being alone."""
    moves, gain, affected = [], 0, 0
    for leaf in leaves:
        now, alone, then = (
            _against(costs, leaf, star.root),
            costs.alone(leaf),
            costs.delta(leaf, centre),
        )
        better = then is not None and then < alone
        moves.append(Move(leaf, centre if better else None))
        gain += now - (then if then is not None and better else alone)
        affected += now
    return _Part(tuple(moves), gain, affected)


def _gain_of_root(centre: int, star: Star, costs: Costs) -> int | None:
    """What is saved on the root itself once it has no leaves; None if it has to stay."""
    now = costs.alone(star.root)
    if star.orphan:
        return now
    then = costs.delta(star.root, centre)
    return None if then is None or then >= now else now - then


def _others(centre: int, star: Star) -> list[int]:
    return [leaf for leaf in star.leaves if leaf != centre]


def _better(some: _Part, whole: _Part | None) -> _Part:
    return whole if whole is not None and whole.gain > some.gain else some


def _against(costs: Costs, content_id: int, base_id: int) -> int:
    """Cost of a delta that exists, whether or not its base could be chosen anew."""
    nbytes = costs.delta(content_id, base_id)
    return costs.alone(content_id) if nbytes is None else nbytes
