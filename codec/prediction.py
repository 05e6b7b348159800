"""Frame lengths foretold from a sample: the sampled elements are really coded, and scaled up."""

import math
from dataclasses import dataclass

import numpy as np

from codec import planes
from codec.buffers import Buffer, Bytes, byte_view
from codec.context_price import sampled_nbytes, whole_nbytes
from codec.dtypes import Layout, dtype_of, layout_of
from codec.frame import BLOCK_NBYTES, Method, head_nbytes
from codec.sampling import gather, sample_runs
from codec.scratch import SCRATCH
from codec.streams import STREAM_HEADER, pack_stream

_RUNS = 512
"""Many short runs: rows of a matrix differ in scale, and each run sees one or two."""
_REPAYS_TABLE = 1 << 15
"""Bytes of sample that make a code table as light as it is in a block."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The codec to choose and the frame length to expect; ``estimates`` has that of every codec."""

    codec: str
    nbytes: int
    estimates: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Sampled elements of a content and of its base, taken in runs of ``run`` elements.

    They stand for the first ``nbytes`` of both. ``closely`` spends some milliseconds on them.
    """

    target: Bytes
    base: Bytes
    nbytes: int
    run: int
    closely: bool


def predict(
    target: Buffer, *, dtype: str, base: Buffer | None = None, sample: int = 65536
) -> Prediction:
    """The best codec for ``target`` and the length of its frame, from ``sample`` elements.

    The elements are taken in 512 runs; all are looked at if there are no more. With a base of
    another length the common part is foretold as a delta and the rest alone.
    """
    layout = layout_of(dtype_of(dtype))
    view = byte_view(target)
    count = view.size // layout.width
    runs = sample_runs(count, _RUNS, max(1, sample // _RUNS))
    alone = gather(view, runs, layout.width)
    if base is None:
        return predict_sample(alone, layout, view.size)
    reference = byte_view(base)
    common = min(view.size, reference.size)
    runs = sample_runs(common // layout.width, _RUNS, max(1, sample // _RUNS))
    first, last = runs[0] if runs else (0, 0)
    pair = Pair(
        gather(view, runs, layout.width),
        gather(reference, runs, layout.width),
        nbytes=common,
        run=last - first,
        closely=True,
    )
    return predict_sample(alone, layout, view.size, pair)


def predict_sample(
    alone: Bytes,
    layout: Layout,
    raw_nbytes: int,
    pair: Pair | None = None,
) -> Prediction:
    """The prediction for a content of ``raw_nbytes`` whose sampled elements are ``alone``.

    ``pair`` is a sample of the part of the content that its base has as well.
    """
    blocks = -(-raw_nbytes // BLOCK_NBYTES)
    head = head_nbytes(raw_nbytes)
    headed = head + blocks * layout.width * STREAM_HEADER.size
    is_whole = raw_nbytes - alone.size < layout.width
    share = _planes_share(alone, layout, is_whole)
    estimates = {
        Method.RAW: head + raw_nbytes,
        Method.ZSTD: head + _bytes_share(alone) * raw_nbytes,
        Method.PLANE: headed + share * raw_nbytes,
    }
    if pair is not None:
        rest = share * (raw_nbytes - pair.nbytes)
        xored = _planes_share(pair.target, layout, is_whole, pair.base)
        estimates[Method.BITX] = headed + xored * pair.nbytes + rest
        if layout.exponent and raw_nbytes:
            estimates[Method.CTX] = head + _context_nbytes(pair, layout, raw_nbytes) + rest
    rounded = {
        method.name: min(round(nbytes), head + raw_nbytes) for method, nbytes in estimates.items()
    }
    best = min(rounded, key=lambda name: rounded[name])
    return Prediction(best, rounded[best], rounded)


def _planes_share(
    target: Bytes, layout: Layout, is_whole: bool, base: Bytes | None = None
) -> float:
    """Coded length of the planes of a sample, as a share of its raw length."""
    if not target.size:
        return 1.0
    coded = sum(_stream_nbytes(plane, is_whole) for plane in planes.split(target, layout, base))
    return coded / target.size


def _context_nbytes(pair: Pair, layout: Layout, raw_nbytes: int) -> float:
    """Length of tables and blocks of the common part."""
    if pair.nbytes - pair.target.size < layout.width and raw_nbytes <= BLOCK_NBYTES:
        return whole_nbytes(pair.target, pair.base, layout)
    return sampled_nbytes(
        pair.target, pair.base, layout, pair.nbytes, pair.run, closely=pair.closely
    )


def _bytes_share(target: Bytes) -> float:
    if not target.size:
        return 1.0
    return min(1.0, len(SCRATCH.bytewise.compress(target.data)) / target.size)


def _stream_nbytes(plane: Bytes, is_whole: bool) -> float:
    """Length of a coded stream, less what a code table weighs only in a short sample.

    That weight is left out by asking what as much again would cost: the same bytes backwards,
    so that nothing but their frequencies and runs is found again. The last term (Miller-Madow)
    takes back that a code made for the sample fits it too well.
    """
    packed = len(pack_stream(plane)[1])
    if is_whole or packed == plane.size or plane.size >= _REPAYS_TABLE:
        return packed
    twice = len(pack_stream(np.concatenate([plane, plane[::-1]]))[1])
    overfit = np.count_nonzero(np.bincount(plane)) / (16 * math.log(2))
    return min(packed, twice - packed + overfit)
