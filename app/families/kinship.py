"""Who descends from whom, out of measured distances and declared bases. Pure.

Distance is symmetric, so measurement alone cannot tell parent from child. The tree is the one of
least total distance; it is hung up by the member from which most declarations point downwards.
Where cards say nothing, the member nearest to all others is the root: fine-tunes of one base are
farther from one another than from it. The order of uploads decides only between equals.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

MISSING = 32.0
"""Counts for a pair that could not be measured: farther than any that could."""

NEAR = 0.1
"""Share by which distances may differ and still be as good as equal. Two fine-tunes far from their
base are about as far from a third one as from the base: there the card, then the centre decides."""


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
    dtype: str = ""
    """Of most of its weights. Twins in two dtypes are equally far from everybody."""

    def may_descend_from(self, parent: "Kin") -> bool:
        """A private repository is the parent of private ones of its namespace only."""
        return not parent.private or (self.private and parent.namespace_id == self.namespace_id)


@dataclass(frozen=True, slots=True)
class Descent:
    """Root of a family and, for the others, parent and distance to it."""

    root: int
    parents: dict[int, tuple[int, float]]


def descent(members: Sequence[Kin], bits: Mapping[tuple[int, int], float]) -> Descent:
    """The spanning tree of least total distance, hung up by its root.

    ``bits`` has both directions of every measured pair. Order of ``members`` does not matter.
    """
    family = _Family(members, bits)
    # Private members must not show in what others see of the family: they have no say in it.
    candidates = [kin for kin in members if not kin.private] or members
    trees = {kin.repo_id: family.grow(kin) for kin in candidates}
    root = min(candidates, key=lambda kin: family.rank(kin, trees[kin.repo_id]))
    return Descent(root.repo_id, trees[root.repo_id])


class _Family:
    """Members with their distances, and what can be asked about trees over them."""

    def __init__(self, members: Sequence[Kin], bits: Mapping[tuple[int, int], float]) -> None:
        self._members = {kin.repo_id: kin for kin in sorted(members, key=lambda kin: kin.repo_id)}
        self._bits = bits
        self._voters = [kin for kin in self._members.values() if not kin.private] or list(
            self._members.values()
        )
        self._remote = {repo_id: self._remoteness(repo_id) for repo_id in self._members}

    def grow(self, root: Kin) -> dict[int, tuple[int, float]]:
        """Prim's tree from ``root``: child -> parent and distance. Unreachable members are out."""
        inside = [root]
        parents: dict[int, tuple[int, float]] = {}
        outside = {i: kin for i, kin in self._members.items() if i != root.repo_id}
        reach: dict[int, float] = {}
        while True:
            for kin in outside.values():
                length = self._length(kin, inside[-1])
                if length is not None:
                    reach[kin.repo_id] = min(length, reach.get(kin.repo_id, length))
            if not reach:
                return parents
            child = self._members[
                min(reach, key=lambda i: (reach[i], self._members[i].dtype != root.dtype, i))
            ]
            parents[child.repo_id] = self._parent(child, inside)
            del reach[child.repo_id], outside[child.repo_id]
            inside.append(child)

    def rank(
        self, root: Kin, tree: Mapping[int, tuple[int, float]]
    ) -> tuple[int, int, int, bool, float, int, int]:
        """Smallest is the root: reaches most, agrees with the cards, central, usual dtype, old."""
        edges = [
            (self._members[child], self._members[parent]) for child, (parent, _) in tree.items()
        ]
        agreement = sum(parent.repo_id in child.declares for child, parent in edges)
        agreement -= sum(child.repo_id in parent.declares for child, parent in edges)
        followers = sum(root.repo_id in kin.declares for kin in self._voters)
        alike = sum(kin.dtype == root.dtype for kin in self._voters)
        remote = round(self._remote[root.repo_id], 6)
        return -len(tree), -agreement, -followers, root.declares_any, remote, -alike, root.repo_id

    def _parent(self, child: Kin, inside: Collection[Kin]) -> tuple[int, float]:
        """The nearest of those inside; among about equals the declared one, then the centre."""
        measured = [
            (self._bits[child.repo_id, kin.repo_id], kin)
            for kin in inside
            if self._length(child, kin) is not None
        ]
        limit = min(bits for bits, _ in measured) / (1 - NEAR)
        bits, parent = min(
            (each for each in measured if each[0] <= limit),
            key=lambda each: (
                each[1].repo_id not in child.declares,
                child.repo_id in each[1].declares,
                round(self._remote[each[1].repo_id], 6),
                each[1].dtype != child.dtype,
                each[0],
                each[1].repo_id,
            ),
        )
        return parent.repo_id, bits

    def _length(self, child: Kin, parent: Kin) -> float | None:
        """Distance for the tree, shorter where a card says so; None if it may not be an edge."""
        bits = self._bits.get((child.repo_id, parent.repo_id))
        if bits is None or not child.may_descend_from(parent):
            return None
        declared = parent.repo_id in child.declares or child.repo_id in parent.declares
        return bits * (1 - NEAR) if declared else bits

    def _remoteness(self, repo_id: int) -> float:
        others = [kin.repo_id for kin in self._voters if kin.repo_id != repo_id]
        return sum(self._bits.get((other, repo_id), MISSING) for other in others)
