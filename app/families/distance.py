"""How far apart two models are: differing bits per element, measured on sketches."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.deltas.neighbours import Tensor
from app.families.models import Model

SAMPLED_TENSORS = 128
"""Tensors compared per pair of models, spread from the largest to the smallest."""

PRICED_TENSORS = 8
"""Of these, the largest that are also priced: pricing takes many times as long as comparing."""

RELATED_COVERAGE = 0.3
"""Share of the smaller model that must have a counterpart in the other."""

RELATED_PRICE = 0.95
"""Two models are related if one as a delta against the other takes less than this share of itself
alone: bytes decide here too, so nothing depends on a bit-distance threshold."""

PRECISIONS = ("BF16", "F16", "F32")
"""Dtypes that are compared with one another, by rounding to the earlier of two."""


@dataclass(frozen=True, slots=True)
class Distance:
    """What the comparison of two models gave."""

    bits: float
    """Mean differing bits per element, in the precision of the comparison."""
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


class Comparison:
    """Measures pairs out of one set of models, all in the same units. One thread.

    Each tensor is compared in the least precision that any of the models has it in: otherwise the
    fp32 twin of a bf16 model would be as far from its siblings as its rounded-off bits are random.
    """

    def __init__(
        self, models: Collection[Model], names: Sequence[str], sketches: Mapping[int, bytes]
    ) -> None:
        from codec import sketched_dtype

        self._sketches = sketches
        self._dtypes = {content: sketched_dtype(each) for content, each in sketches.items()}
        self._names = names
        self._cast: dict[tuple[int, str], bytes] = {}
        self._precision = {
            name: _least(m.tensors[name].dtype for m in models if name in m.tensors)
            for name in names
        }

    def distance(self, a: Model, b: Model) -> Distance | None:
        """The distance over sampled tensors that both models have; None if nothing compares."""
        bits = alone = delta = 0.0
        elements = priced = 0
        for name in self._names:
            pair = self._pair(name, a.tensors.get(name), b.tensors.get(name))
            if pair is None:
                continue
            count = _elements(a.tensors[name])
            elements += count
            bits += _bits(*pair) * count
            if priced < PRICED_TENSORS:
                costs = _price(*pair, self._nbytes(a.tensors[name], name))
                delta, alone, priced = delta + costs[0], alone + costs[1], priced + 1
        if not elements:
            return None
        return Distance(bits / elements, delta / alone if alone else 0.0, _coverage(a, b))

    def _pair(self, name: str, a: Tensor | None, b: Tensor | None) -> tuple[bytes, bytes] | None:
        """Two sketches in one precision, if the two tensors compare."""
        if a is None or b is None or a.shape != b.shape:
            return None
        first, second = self._sketch(a, name), self._sketch(b, name)
        if first is None or second is None:
            return None
        is_float = a.dtype in PRECISIONS and b.dtype in PRECISIONS
        return (first, second) if is_float or a.dtype == b.dtype else None

    def _sketch(self, tensor: Tensor, name: str) -> bytes | None:
        """That of a tensor in the precision of the comparison.

        None as well where whoever sent these bytes first named another dtype: other places of them
        may have been sampled.
        """
        from codec import cast_sketch

        if self._dtypes.get(tensor.content_id) != tensor.dtype:
            return None
        sketch, precision = self._sketches[tensor.content_id], self._precision[name]
        if not self._is_cast(tensor, name):
            return sketch
        key = tensor.content_id, precision
        if key not in self._cast:
            self._cast[key] = cast_sketch(sketch, precision)
        return self._cast[key]

    def _nbytes(self, tensor: Tensor, name: str) -> int:
        """Length of the tensor in the precision of the comparison."""
        return 2 * _elements(tensor) if self._is_cast(tensor, name) else tensor.nbytes

    def _is_cast(self, tensor: Tensor, name: str) -> bool:
        return tensor.dtype in PRECISIONS and tensor.dtype != self._precision[name]


def _least(dtypes: Iterable[str]) -> str:
    """The least precise of the floats among ``dtypes``; empty without any."""
    return min((d for d in dtypes if d in PRECISIONS), key=PRECISIONS.index, default="")


def _bits(first: bytes, second: bytes) -> float:
    from codec import sketch_distance

    return 0.0 if first == second else sketch_distance(first, second)


def _price(first: bytes, second: bytes, nbytes: int) -> tuple[float, float]:
    """Predicted bytes of the first as a delta, and alone."""
    from codec import predict_from_sketches

    if first == second:
        return 0.0, float(predict_from_sketches(first, None, nbytes).nbytes)
    estimates = predict_from_sketches(first, second, nbytes).estimates
    alone = min(estimates[name] for name in ("PLANE", "ZSTD", "RAW"))
    return float(min(estimates.values())), float(alone)


def _elements(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _coverage(a: Model, b: Model) -> float:
    """Share of the elements of the smaller model that the other has in the same shape."""

    def elements(tensors: Iterable[Tensor]) -> int:
        return sum(_elements(each) for each in tensors)

    common = [
        each
        for name, each in a.tensors.items()
        if name in b.tensors and b.tensors[name].shape == each.shape
    ]
    smaller = min(elements(a.tensors.values()), elements(b.tensors.values()))
    return elements(common) / smaller if smaller else 0.0
