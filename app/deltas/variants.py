"""Tensors of one name with more or fewer rows: an embedding before and after tokens were added.

Their sketches are of other positions, so a delta is priced on samples of the rows that both have.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from app.contents.reading import read_content
from app.contents.refs import EncodingRef
from app.deltas.prices import ALONE_CODECS, SketchPrices
from app.errors import HubError
from app.hub import Hub

SAMPLES = 16
SAMPLE_NBYTES = 128 << 10
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


def variant_price(
    target: Read, base: Read, *, dtype: str, nbytes: int, base_nbytes: int, alone_nbytes: int
) -> int:
    """Predicted stored bytes of a tensor of ``nbytes`` against a base of ``base_nbytes``.

    What goes beyond the base is coded alone.
    """
    import codec

    common = min(nbytes, base_nbytes)
    ranges = _sample_ranges(common)
    data, below = (b"".join(read(*each) for each in ranges) for read in (target, base))
    estimates = codec.predict(data, dtype=dtype, base=below).estimates
    deltas = (estimate for name, estimate in estimates.items() if name not in ALONE_CODECS)
    rest = alone_nbytes * (1 - common / nbytes)
    return round(min(deltas) / len(data) * common + rest)


def _sample_ranges(nbytes: int) -> list[tuple[int, int]]:
    if nbytes <= SAMPLES * SAMPLE_NBYTES:
        return [(0, nbytes)]
    step = (nbytes - SAMPLE_NBYTES) / (SAMPLES - 1)
    starts = (int(step * n) // ALIGNMENT * ALIGNMENT for n in range(SAMPLES))
    return [(start, start + SAMPLE_NBYTES) for start in starts]


def price_variants(
    hub: Hub,
    prices: SketchPrices,
    refs: Mapping[int, EncodingRef],
    pairs: Iterable[tuple[int, int]],
    dtype: str,
) -> None:
    """Teach ``prices`` what deltas cost in ``pairs`` of a content and a base of other length.

    Reads from the store. What cannot be read stays without a price.
    """
    for content_id, base_id in pairs:
        ref, base = refs[content_id], refs[base_id]
        try:
            nbytes = variant_price(
                reader_of(hub, ref),
                reader_of(hub, base),
                dtype=dtype,
                nbytes=ref.nbytes,
                base_nbytes=base.nbytes,
                alone_nbytes=prices.alone(content_id),
            )
        except HubError:
            continue
        prices.learn(content_id, base_id, nbytes)


def variant_pairs(
    refs: Mapping[int, EncodingRef], centres: Collection[int], variants: Collection[int]
) -> list[tuple[int, int]]:
    """Pairs of other length that a plan around ``centres`` asks about: both ways."""
    return [
        pair
        for centre in centres
        for other in variants
        if centre in refs and other in refs and refs[centre].nbytes != refs[other].nbytes
        for pair in ((centre, other), (other, centre))
    ]
