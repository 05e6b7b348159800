"""What tensors cost, alone and against one another, as their sketches foretell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from app.deltas.choose import ROOT_PREFERENCE
from app.deltas.domain import NOBODY, Holders

ALONE_CODECS = frozenset({"RAW", "ZSTD", "PLANE"})
"""Codecs that need no base."""

FARTHER = 1.05
"""How many times the bits differ in a base that is plainly farther than another: sketches tell
distances to about a hundredth, and of two deltas of a content the one of fewer bits is shorter."""

FARTHER_THAN_ROOT = FARTHER * 1.07
"""The same where the farther one is a root's and the nearer is not: the share of bytes by which
roots are preferred comes to that of bits at most: a delta grows by less than its bits do."""


class SketchPrices:
    """Predicted stored bytes from sketches, remembered. One thread."""

    def __init__(
        self,
        sketches: Mapping[int, bytes],
        nbytes: Mapping[int, int],
        holders: Mapping[int, Holders],
        *,
        stored: Mapping[int, tuple[int | None, int]] | None = None,
    ) -> None:
        self._sketches = sketches
        self._nbytes = nbytes
        self._holders = holders
        self._stored = stored or {}
        self._learned: dict[tuple[int, int], int] = {}
        self._known: dict[tuple[int, int | None], int | None] = {}
        self._distances: dict[tuple[int, int], float] = {}

    def alone(self, content_id: int) -> int:
        """Predicted stored bytes without a base; raw bytes for what has no sketch."""
        return self._price(content_id, None) or self._nbytes[content_id]

    def delta(self, content_id: int, base_id: int) -> int | None:
        """Predicted stored bytes against a base; None if it may not be used or is not comparable.

        What is stored like that already has its price even if the base may not be chosen anew.
        """
        base_now, stored_nbytes = self._stored.get(content_id, (None, 0))
        if base_now != base_id and not self._may_serve(base_id, content_id):
            return None
        priced = self._price(content_id, base_id)
        if priced is not None:
            return priced
        if base_now == base_id:
            return stored_nbytes
        if (content_id, base_id) in self._learned:
            return self._learned[content_id, base_id]
        return self._mirrored(content_id, base_id)

    def learn(self, content_id: int, base_id: int, nbytes: int) -> None:
        """Take in a price of a pair that sketches do not compare."""
        self._learned[content_id, base_id] = nbytes

    def distance(self, a: int, b: int) -> float:
        """Differing bits per element; infinite if the two do not compare."""
        key = (min(a, b), max(a, b))
        if key not in self._distances:
            self._distances[key] = self._measure(*key)
        return self._distances[key]

    def is_farther(self, content_id: int, base_id: int, than: int, times: float = FARTHER) -> bool:
        """Whether distances alone say that a delta against ``than`` is shorter."""
        near, far = self.distance(content_id, than), self.distance(content_id, base_id)
        return near * times < far < inf

    def _measure(self, a: int, b: int) -> float:
        from codec import sketch_distance

        first, second = self._sketches.get(a), self._sketches.get(b)
        return inf if first is None or second is None else sketch_distance(first, second)

    def _mirrored(self, content_id: int, base_id: int) -> int | None:
        """Tensors of different row counts have no comparable sketches, but deltas are symmetric.

        Not so across dtypes.
        """
        base_of_base, stored_nbytes = self._stored.get(base_id, (None, 0))
        if base_of_base != content_id or not self._are_alike(content_id, base_id):
            return None
        return stored_nbytes + max(0, self._nbytes[content_id] - self._nbytes[base_id])

    def _are_alike(self, a: int, b: int) -> bool:
        from codec import sketched_dtype

        known = (self._sketches.get(content) for content in (a, b))
        return len({sketched_dtype(sketch) for sketch in known if sketch is not None}) < 2

    def _may_serve(self, base_id: int, content_id: int) -> bool:
        target = self._holders.get(content_id, NOBODY)
        return self._holders.get(base_id, NOBODY).may_serve(target)

    def _price(self, content_id: int, base_id: int | None) -> int | None:
        key = (content_id, base_id)
        if key not in self._known:
            self._known[key] = self._predict(content_id, base_id)
        return self._known[key]

    def _predict(self, content_id: int, base_id: int | None) -> int | None:
        from codec import predict_from_sketches

        nbytes = self._nbytes[content_id]
        target = self._sketches.get(content_id)
        if target is None:
            return None
        if base_id is None:
            return predict_from_sketches(target, None, nbytes).nbytes
        base = self._sketches.get(base_id)
        if base is None:
            return None
        estimates = predict_from_sketches(target, base, nbytes).estimates
        return min(
            (estimate for codec, estimate in estimates.items() if codec not in ALONE_CODECS),
            default=None,
        )


@dataclass(frozen=True, slots=True)
class RootPrices:
    """Prices as a regrouping weighs them: tensors of a family's root count as bases for less.

    One factor on everything stored in a root's star, so that what a plan saves by these prices can
    be added up over plans, and planning ends.
    """

    prices: SketchPrices
    of_root: frozenset[int]
    """Contents that the root holds."""

    def alone(self, content_id: int) -> int:
        """Weighed bytes without a base."""
        return self._weighed(self.prices.alone(content_id), content_id)

    def delta(self, content_id: int, base_id: int) -> int | None:
        """Weighed bytes against a base; None if it may not be used or is not comparable."""
        nbytes = self.prices.delta(content_id, base_id)
        return None if nbytes is None else self._weighed(nbytes, base_id)

    def is_farther(self, content_id: int, base_id: int, than: int) -> bool:
        """As distances and these weights have it."""
        favours_farther = base_id in self.of_root and than not in self.of_root
        times = FARTHER_THAN_ROOT if favours_farther else FARTHER
        return self.prices.is_farther(content_id, base_id, than, times)

    def _weighed(self, nbytes: int, base_id: int) -> int:
        return round(nbytes * (1 - ROOT_PREFERENCE)) if base_id in self.of_root else nbytes
