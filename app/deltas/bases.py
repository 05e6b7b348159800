"""The base of each tensor of a batch: candidates from the database, prices from sketches."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.refs import EncodingRef
from app.db.tables import Encoding
from app.deltas.choose import Offer, choose
from app.deltas.domain import held_by, holding_repos, load_holders
from app.deltas.neighbours import (
    NEAREST,
    Tensor,
    row_variants,
    same_shape_contents,
    self_contained,
)
from app.deltas.prices import SketchPrices
from app.deltas.relatives import Relatives, family_roots, find_relatives
from app.deltas.sketches import MIN_SKETCHED_NBYTES, load_sketches
from app.deltas.tensors import Waiting
from app.deltas.variants import Read, Variant, load_variants, reader_of, variant_price
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What may serve as the base of one tensor; every one is self-contained."""

    same_shape: tuple[int, ...]
    variants: tuple[int, ...]


class BaseFinder:
    """Chooses bases for the tensors of one job. One thread."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._avoided: set[int] = set()
        self._bases: set[int] = set()
        """Contents that were chosen as bases in this round: they stay alone."""
        self._deltas: set[int] = set()
        """Contents that become deltas in this round: they are no bases."""
        self._related: dict[frozenset[int], Relatives] = {}
        self.hold: Callable[[Collection[int]], None] = lambda _ids: None
        """Called with the bases chosen, before they are used."""

    def avoid(self, base_ids: Collection[int]) -> None:
        """Start a new round, never choosing these again: they moved on, or went."""
        self._avoided.update(base_ids)
        self._bases.clear()
        self._deltas.clear()

    def choose(self, batch: Sequence[Waiting], data: Mapping[int, memoryview]) -> dict[int, int]:
        """Content -> base; the others are coded alone. ``data``: raw bytes of those in memory."""
        tensors = [
            each.tensor
            for each in batch
            if each.tensor is not None and each.ref.nbytes >= MIN_SKETCHED_NBYTES
        ]
        relatives = self._relatives(tensors)
        with self._hub.db.read() as session:
            candidates = self._candidates(session, tensors, relatives.repos)
            mine = [tensor.content_id for tensor in tensors]
            same = {c for found in candidates.values() for c in found.same_shape}
            variants = {c for found in candidates.values() for c in found.variants}
            sketches = load_sketches(session, [*same, *mine])
            holders = load_holders(session, [*same, *mine, *variants])
            known = load_variants(session, variants)
            roots = relatives.roots | family_roots(session, holding_repos(session, same | variants))
            of_root = held_by(session, same | variants, roots)
            self._bases.update(
                base
                for base in session.scalars(
                    select(Encoding.base_id).where(Encoding.base_id.in_(mine)).distinct()
                )
                if base is not None
            )
        nbytes = {tensor.content_id: tensor.nbytes for tensor in tensors}
        prices = SketchPrices(sketches, nbytes, holders)
        refs_of = {each.ref.content_id: each.ref for each in batch}
        chosen: dict[int, int] = {}
        for tensor in tensors:
            target = tensor.content_id
            if target in self._bases:
                continue
            variant_ids = sorted(candidates[target].variants, key=lambda c: c not in of_root)
            usable = [known[c] for c in variant_ids if c in known]
            offers = self._offers(prices, target, candidates[target].same_shape, of_root)
            allowed = [v for v in usable if holders[v.content_id].may_serve(holders[target])]
            if allowed:
                read = self._reader(refs_of[target], data.get(target))
                offers += self._variant_offers(tensor, read, allowed, prices)
            offers = [replace(each, of_root=each.base_id in of_root) for each in offers]
            base = choose(prices.alone(target), offers).base_id
            if base is not None:
                chosen[target] = base
                self._bases.add(base)
                self._deltas.add(target)
        self.hold(set(chosen.values()))
        return chosen

    def _candidates(
        self, session: Session, tensors: Sequence[Tensor], preferred: Collection[int]
    ) -> dict[int, _Candidates]:
        holders = load_holders(session, [tensor.content_id for tensor in tensors])
        found: dict[int, _Candidates] = {}
        for tensor in tensors:
            same = same_shape_contents(session, tensor, holders[tensor.content_id], preferred)
            variants = row_variants(session, tensor, preferred)
            # What is a delta itself stands for its base, which may have other rows.
            roots = self_contained(session, [*same, *variants])
            same_roots = {roots[c]: None for c in same if c in roots}
            variant_roots = {roots[c]: None for c in variants if c in roots}
            variant_roots.update({root: None for root in same_roots if root not in same})
            lost = self._avoided | {tensor.content_id}
            found[tensor.content_id] = _Candidates(
                tuple(root for root in same_roots if root not in lost),
                tuple(root for root in variant_roots if root not in lost),
            )
        return found

    def _relatives(self, tensors: Sequence[Tensor]) -> Relatives:
        with self._hub.db.read() as session:
            repos = holding_repos(session, [tensor.content_id for tensor in tensors])
        if repos not in self._related:
            self._related[repos] = find_relatives(self._hub, repos)
        return self._related[repos]

    def _offers(
        self,
        prices: SketchPrices,
        target: int,
        candidates: Collection[int],
        of_root: Collection[int],
    ) -> list[Offer]:
        usable = [base for base in candidates if base not in self._deltas]
        near = sorted(usable, key=lambda base: (prices.distance(target, base), base))
        asked = near[:NEAREST] + [base for base in near[NEAREST:] if base in of_root]
        priced = ((base, prices.delta(target, base)) for base in asked)
        return [Offer(base, nbytes) for base, nbytes in priced if nbytes is not None]

    def _reader(self, ref: EncodingRef, data: memoryview | None) -> Read:
        """Reads a tensor, out of memory if it is there."""
        return reader_of(self._hub, ref) if data is None else lambda start, stop: data[start:stop]

    def _variant_offers(
        self,
        tensor: Tensor,
        read: Read,
        variants: Sequence[Variant],
        prices: SketchPrices,
    ) -> list[Offer]:
        """Bases with other row counts."""
        others = [v for v in variants if v.has_other_rows(tensor)]
        alone_nbytes = prices.alone(tensor.content_id)
        return [
            Offer(each.content_id, variant_price(self._hub, tensor, read, each, alone_nbytes))
            for each in [v for v in others if v.content_id not in self._deltas][:NEAREST]
        ]
