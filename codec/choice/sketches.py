"""Sketches: a few thousand elements of a tensor at fixed positions, to compare tensors unread.

Two tensors of one dtype and length are sampled at the same positions, so the differing bits of
their sketches estimate their bit distance without bias, and the sketched elements foretell the
length of a delta (compare TensorSketch in TensorDex, arXiv 2604.17104, which hashes bits instead
and so cannot foretell lengths in the context of a codec). ``docs/formats/frame.md`` has the bytes.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from codec.buffers import Buffer, Bytes, byte_view
from codec.choice.distance import differing_bits
from codec.choice.prediction import Pair, Prediction, predict_sample
from codec.elements.casts import cast, narrow_dtype
from codec.elements.dtypes import DType, dtype_of, layout_of
from codec.elements.sampling import sample_runs
from codec.elements.words import is_castable
from codec.errors import CodecError

SKETCH_VERSION: Final = 1
_RUNS: Final = 64
_RUN_LENGTH: Final = 64
_HEADER: Final = struct.Struct("<BBHQ")
_PRECISION: Final = (DType.BF16, DType.F16, DType.F32)


def sketch_ranges(nbytes: int, dtype: str) -> list[tuple[int, int]]:
    """The byte ranges of a tensor of ``nbytes`` that its sketch consists of, in order."""
    width = layout_of(dtype_of(dtype)).width
    runs = sample_runs(nbytes // width, _RUNS, _RUN_LENGTH)
    return [(start * width, stop * width) for start, stop in runs]


def sketch_from_samples(samples: Iterable[Buffer], *, nbytes: int, dtype: str) -> bytes:
    """The sketch of a tensor of ``nbytes`` from its bytes at :func:`sketch_ranges`, in order.

    Raises ValueError if the samples are not of the lengths of these ranges.
    """
    header = _HEADER.pack(SKETCH_VERSION, dtype_of(dtype), 0, nbytes)
    parts = [byte_view(sample) for sample in samples]
    expected = [stop - start for start, stop in sketch_ranges(nbytes, dtype)]
    if [part.size for part in parts] != expected:
        raise ValueError("the samples do not have the lengths of the sketch ranges")
    return b"".join([header, *(part.data for part in parts)])


def sketch(target: Buffer, *, dtype: str) -> bytes:
    """The sketch of a tensor in memory: at most 4,096 elements and 12 bytes."""
    view = byte_view(target)
    ranges = sketch_ranges(view.size, dtype)
    samples = (view[start:stop] for start, stop in ranges)
    return sketch_from_samples(samples, nbytes=view.size, dtype=dtype)


def sketch_distance(a: Buffer, b: Buffer) -> float:
    """Differing bits per sampled element: an estimate of the bit distance of the two tensors.

    Floats of 16 and 32 bits are compared in the less precise dtype of the two. Infinite if the
    tensors differ in their number of elements or in any other dtype, so cannot be compared. Raises
    CodecError if either is no sketch.
    """
    first, second = _Sketch.parse(a), _Sketch.parse(b)
    if not first.compares_with(second):
        return math.inf
    if not first.elements.size:
        return 0.0
    dtype = first.dtype
    if second.dtype is not dtype:
        dtype = min(dtype, second.dtype, key=_PRECISION.index)
    elements = first.elements_as(dtype)
    width = layout_of(dtype).width
    return differing_bits(elements, second.elements_as(dtype)) * width / elements.size


def sketched_dtype(sketch: Buffer) -> str:
    """The dtype of the tensor that a sketch was made of; CodecError if it is no sketch."""
    return _Sketch.parse(sketch).dtype.name


def cast_sketch(sketch: Buffer, dtype: str) -> bytes:
    """The sketch that a tensor would have after a cast: sampled places are the same.

    Raises CodecError if this is no sketch, ValueError if such a cast is not known.
    """
    parsed, target = _Sketch.parse(sketch), dtype_of(dtype)
    if not is_castable(parsed.dtype, target):
        raise ValueError(f"{parsed.dtype.name} is not cast to {dtype}")
    count = parsed.nbytes // layout_of(parsed.dtype).width
    header = _HEADER.pack(SKETCH_VERSION, target, 0, count * layout_of(target).width)
    return header + parsed.elements_as(target).tobytes()


def predict_from_sketches(
    target_sketch: Buffer, base_sketch: Buffer | None, raw_nbytes: int | None = None
) -> Prediction:
    """As :func:`codec.predict`, from sketches alone: a few per cent wide of the real length.

    A base that cannot be compared is as good as none. Raises CodecError if either is no sketch,
    ValueError if the target's is that of a tensor of another length than ``raw_nbytes``.
    """
    target = _Sketch.parse(target_sketch)
    if raw_nbytes is not None and target.nbytes != raw_nbytes:
        raise ValueError(f"the sketch is of {target.nbytes} bytes, not {raw_nbytes}")
    narrow = narrow_dtype(target.elements, dtype=target.dtype.name)
    if narrow is not None:
        target = _Sketch.parse(cast_sketch(target_sketch, narrow))
    layout = layout_of(target.dtype)
    base = None if base_sketch is None else _Sketch.parse(base_sketch)
    if base is None or not target.compares_with(base):
        return predict_sample(target.elements, layout, target.nbytes)
    below = base.elements_as(target.dtype)
    pair = Pair(target.elements, below, target.nbytes, run=_RUN_LENGTH, closely=False)
    return predict_sample(target.elements, layout, target.nbytes, pair)


@dataclass(frozen=True, slots=True, eq=False)
class _Sketch:
    dtype: DType
    nbytes: int
    elements: Bytes

    def compares_with(self, other: Self) -> bool:
        """Whether both sampled the same places of tensors whose words can be compared."""
        if self.dtype == other.dtype:
            return self.nbytes == other.nbytes
        counts = {each.nbytes / layout_of(each.dtype).width for each in (self, other)}
        return is_castable(self.dtype, other.dtype) and len(counts) == 1

    def elements_as(self, dtype: DType) -> Bytes:
        """The sampled elements, cast to ``dtype``."""
        if dtype is self.dtype:
            return self.elements
        return np.array(cast(self.elements, self.dtype, dtype))

    @classmethod
    def parse(cls, sketch: Buffer) -> Self:
        view = byte_view(sketch)
        if view.size < _HEADER.size:
            raise CodecError("not a sketch: too short")
        version, dtype_id, zero, nbytes = _HEADER.unpack(view[: _HEADER.size].tobytes())
        if version != SKETCH_VERSION or zero or dtype_id not in DType.__members__.values():
            raise CodecError("not a sketch that this version knows")
        dtype = DType(dtype_id)
        # An unaligned view would be slow in every kernel: take the elements out of the bytes.
        elements = np.array(view[_HEADER.size :])
        count = nbytes // layout_of(dtype).width
        if elements.size != min(count, _RUNS * _RUN_LENGTH) * layout_of(dtype).width:
            raise CodecError("the sketch does not have the length its header tells")
        return cls(dtype, nbytes, elements)
