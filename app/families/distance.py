"""How far apart two models are: differing bits per element, measured on sketches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from app.deltas.neighbours import Tensor
from app.families.models import Model

SAMPLED_TENSORS = 32
"""Tensors compared per pair of models, spread from the largest to the smallest."""

RELATED_COVERAGE = 0.3
"""Share of the smaller model that must have a counterpart in the other."""

RELATED_PRICE = 0.95
"""Two models are related if one as a delta against the other takes less than this share of itself
alone: bytes decide here too, so nothing depends on a bit-distance threshold."""

WIDENED = {("F32", "BF16"), ("BF16", "F32")}
"""Pairs of dtypes of which one widens to the other by zeros."""


@dataclass(frozen=True, slots=True)
class Distance:
    """What the comparison of two models gave."""

    bits: float
    """Mean differing bits per element, BF16 widened where the other is F32."""
    price: float
    """Predicted bytes as a delta, as a share of predicted bytes alone."""
    coverage: float

    @property
    def is_related(self) -> bool:
        """Whether one is worth storing against the other."""
        return self.coverage >= RELATED_COVERAGE and self.price < RELATED_PRICE


def sample_names(model: Model) -> list[str]:
    """Names of tensors that stand for the whole, largest first."""
    ordered = sorted(model.tensors, key=lambda name: (-model.tensors[name].nbytes, name))
    step = -(-len(ordered) // SAMPLED_TENSORS) or 1
    return ordered[::step]


def measure_distance(
    a: Model, b: Model, names: Sequence[str], sketches: Mapping[int, bytes]
) -> Distance | None:
    """The distance over those of ``names`` that both models have; None if nothing compares."""
    elements = bits = alone = delta = 0.0
    for name in names:
        first, second = a.tensors.get(name), b.tensors.get(name)
        if first is None or second is None:
            continue
        compared = _compare(first, second, sketches)
        if compared is None:
            continue
        count = float(np.prod(first.shape)) if first.shape else 1.0
        elements += count
        bits += compared[0] * count
        delta += compared[1]
        alone += compared[2]
    if not elements:
        return None
    return Distance(bits / elements, delta / alone if alone else 0.0, _coverage(a, b))


def _compare(
    a: Tensor, b: Tensor, sketches: Mapping[int, bytes]
) -> tuple[float, float, float] | None:
    """Bits per element, bytes of ``a`` as a delta, bytes of ``a`` alone."""
    import codec

    first, nbytes = sketches.get(a.content_id), a.nbytes
    if a.content_id == b.content_id:
        alone = codec.predict_from_sketches(first, None, nbytes).nbytes if first else nbytes
        return 0.0, 0.0, float(alone)
    second = sketches.get(b.content_id)
    if first is None or second is None or a.shape != b.shape:
        return None
    if (a.dtype, b.dtype) in WIDENED:
        nbytes = max(a.nbytes, b.nbytes)
        first = first if a.dtype == "F32" else _widened(first, nbytes)
        second = second if b.dtype == "F32" else _widened(second, nbytes)
    elif a.dtype != b.dtype:
        return None
    estimates = codec.predict_from_sketches(first, second, nbytes).estimates
    alone = min(estimates[name] for name in ("PLANE", "ZSTD", "RAW"))
    return codec.sketch_distance(first, second), float(min(estimates.values())), float(alone)


def _widened(sketch: bytes, nbytes: int) -> bytes:
    """The F32 sketch of a BF16 tensor after the exact cast: same positions, zeros below."""
    import codec

    ranges = codec.sketch_ranges(nbytes, "F32")
    count = sum(stop - start for start, stop in ranges) // 4
    halves = np.frombuffer(sketch, "<u2", count=count, offset=len(sketch) - 2 * count)
    words = (halves.astype("<u4") << 16).tobytes()
    cuts = accumulate((stop - start for start, stop in ranges), initial=0)
    samples = (words[start:stop] for start, stop in pairwise(cuts))
    return codec.sketch_from_samples(samples, nbytes=nbytes, dtype="F32")


def _coverage(a: Model, b: Model) -> float:
    """Share of the elements of the smaller model that the other has in the same shape."""

    def elements(tensors: dict[str, Tensor]) -> float:
        return sum(float(np.prod(each.shape)) for each in tensors.values())

    common = {
        name: each
        for name, each in a.tensors.items()
        if name in b.tensors and b.tensors[name].shape == each.shape
    }
    smaller = min(elements(a.tensors), elements(b.tensors))
    return elements(common) / smaller if smaller else 0.0
