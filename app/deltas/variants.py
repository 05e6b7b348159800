"""Tensors of one name with more or fewer rows: an embedding before and after tokens were added.

Their sketches are of other positions, so a delta is priced on samples of the rows that both have.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contents.reading import read_content
from app.contents.refs import EncodingRef, load_refs
from app.deltas.neighbours import Tensor
from app.deltas.prices import ALONE_CODECS, SketchPrices
from app.deltas.tensors import base_dtype_of, load_tensors
from app.errors import HubError
from app.hub import Hub

SAMPLES = 16
SAMPLE_ELEMENTS = 64 << 10
"""What is looked at of two tensors, all over them: the rows of frequent tokens come first and are
trained most."""

ALIGNMENT = 64

MOST_VARIANTS = 8
"""Variants of one tensor that a plan takes into account."""

Read = Callable[[int, int], bytes | memoryview]
"""Raw bytes of a tensor from start to stop."""


def reader_of(hub: Hub, ref: EncodingRef) -> Read:
    """Reads a tensor from the store; the reader raises Damaged or StoreUnavailable."""
    return lambda start, stop: read_content(hub, ref, start, stop)


@dataclass(frozen=True, slots=True)
class Variant:
    """A tensor beside its namesakes of other row counts."""

    ref: EncodingRef
    tensor: Tensor

    @property
    def content_id(self) -> int:
        """Of the tensor."""
        return self.tensor.content_id

    def has_other_rows(self, other: Tensor) -> bool:
        """Whether sketches cannot tell how far the two are apart."""
        return _elements(self.tensor) != _elements(other)


def load_variants(session: Session, content_ids: Collection[int]) -> dict[int, Variant]:
    """Those of the contents that are tensors and can be read, by id."""
    refs, tensors = load_refs(session, content_ids), load_tensors(session, content_ids)
    return {content: Variant(refs[content], tensors[content]) for content in refs.keys() & tensors}


def variant_price(hub: Hub, tensor: Tensor, read: Read, base: Variant, alone_nbytes: int) -> int:
    """Predicted stored bytes of a tensor against a variant; what goes beyond it is coded alone.

    ``read`` gives bytes of the tensor. Raises Damaged or StoreUnavailable.
    """
    import codec

    base_dtype = base_dtype_of(tensor.dtype, base.tensor) or tensor.dtype
    common = min(_elements(tensor), base.ref.nbytes // _width(base_dtype))
    ranges = _sample_ranges(common)
    data, below = (
        b"".join(each(start * width, stop * width) for start, stop in ranges)
        for each, width in (
            (read, _width(tensor.dtype)),
            (reader_of(hub, base.ref), _width(base_dtype)),
        )
    )
    prediction = codec.predict(data, dtype=tensor.dtype, base=below, base_dtype=base_dtype)
    estimates = prediction.estimates
    delta = min(nbytes for name, nbytes in estimates.items() if name not in ALONE_CODECS)
    share = common / _elements(tensor)
    return round(delta / len(data) * tensor.nbytes * share + alone_nbytes * (1 - share))


def _elements(tensor: Tensor) -> int:
    return tensor.nbytes // _width(tensor.dtype)


def _width(dtype: str) -> int:
    from codec.elements.dtypes import dtype_of, layout_of

    return layout_of(dtype_of(dtype)).width


def _sample_ranges(elements: int) -> list[tuple[int, int]]:
    """Ranges of elements."""
    if elements <= SAMPLES * SAMPLE_ELEMENTS:
        return [(0, elements)]
    step = (elements - SAMPLE_ELEMENTS) / (SAMPLES - 1)
    starts = (int(step * n) // ALIGNMENT * ALIGNMENT for n in range(SAMPLES))
    return [(start, start + SAMPLE_ELEMENTS) for start in starts]


def price_variants(
    hub: Hub,
    prices: SketchPrices,
    variants: Mapping[int, Variant],
    pairs: Iterable[tuple[int, int]],
) -> None:
    """Teach ``prices`` what deltas cost in ``pairs`` of a content and a base of other length.

    Reads from the store. What cannot be read stays without a price.
    """
    for content_id, base_id in pairs:
        target, base = variants[content_id], variants[base_id]
        read, alone_nbytes = reader_of(hub, target.ref), prices.alone(content_id)
        try:
            nbytes = variant_price(hub, target.tensor, read, base, alone_nbytes)
        except HubError:
            continue
        prices.learn(content_id, base_id, nbytes)


def variant_pairs(
    known: Mapping[int, Variant], centres: Collection[int], variants: Collection[int]
) -> list[tuple[int, int]]:
    """Pairs of other length that a plan around ``centres`` asks about: both ways."""
    return [
        pair
        for centre in centres
        for other in variants
        if centre in known and other in known
        if known[centre].has_other_rows(known[other].tensor)
        for pair in ((centre, other), (other, centre))
    ]
