"""Who descends from whom, out of measured distances and declared bases. Pure.

Distance is symmetric, so measurement alone cannot tell parent from child. Declarations give the
direction where they agree with the measurement; the root is the member nearest to all others among
those that declare the least.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kin:
    """A member of a family as far as kinship matters. ``repo_id`` grows with age of the row."""

    repo_id: int
    namespace_id: int
    private: bool
    declares: frozenset[int] = frozenset()
    """Repositories of this hub that its card names as bases."""
    declares_any: bool = False
    """Its card names a base, here or elsewhere."""

    def may_descend_from(self, parent: "Kin") -> bool:
        """A private repository is nobody's parent outside its namespace."""
        return not parent.private or parent.namespace_id == self.namespace_id


@dataclass(frozen=True, slots=True)
class Descent:
    """Root of a family and, for the others, parent and distance to it."""

    root: int
    parents: dict[int, tuple[int, float]]


def descent(members: Sequence[Kin], bits: Mapping[tuple[int, int], float]) -> Descent:
    """The spanning tree of least total distance, hung up by its root.

    ``bits`` has both directions of every measured pair. Order of ``members`` does not matter.
    """
    by_id = {kin.repo_id: kin for kin in members}
    root = min(members, key=lambda kin: _seniority(kin, by_id, bits)).repo_id
    parents: dict[int, tuple[int, float]] = {}
    inside = {root}
    while True:
        edges = [
            (distance, not _is_declared(by_id[child], parent), child, parent)
            for (child, parent), distance in bits.items()
            if parent in inside
            and child not in inside
            and child in by_id
            and by_id[child].may_descend_from(by_id[parent])
        ]
        if not edges:
            return Descent(root, parents)
        distance, _, child, parent = min(edges)
        parents[child] = (parent, distance)
        inside.add(child)


def _seniority(
    kin: Kin, members: Mapping[int, Kin], bits: Mapping[tuple[int, int], float]
) -> tuple[bool, int, float, int]:
    """Smallest is the root: visible, without a base of its own, central, old."""
    declared = 2 if kin.declares & members.keys() else 1 if kin.declares_any else 0
    # Private members must not show in what others see of the family: they have no say in it.
    voters = [m.repo_id for m in members.values() if not m.private] or list(members)
    total = sum(bits.get((other, kin.repo_id), MISSING) for other in voters if other != kin.repo_id)
    return kin.private, declared, total, kin.repo_id


def _is_declared(child: Kin, parent: int) -> bool:
    return parent in child.declares


MISSING = 32.0
"""Counts for a pair that could not be measured: farther than any that could."""
