"""Frame lengths foretold from a sample: the sampled elements are really coded, and scaled up."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from codec.buffers import Buffer, Bytes, byte_view
from codec.choice.context_price import sampled_nbytes, whole_nbytes
from codec.choice.distance import alike_groups
from codec.choice.pairing import paired_blocks, tables_for
from codec.choice.ranks import choose_factors
from codec.choice.sparse_price import foretell_changes, sampled_changes_nbytes
from codec.context.block import GROUP
from codec.elements.casts import cast_base, narrow_dtype, narrowed
from codec.elements.dtypes import Layout, dtype_of, layout_of
from codec.elements.sampling import gather, sample_runs
from codec.elements.words import Words
from codec.frames.head import NEEDS_BASE, Method, head_nbytes
from codec.limits import BLOCK_NBYTES
from codec.lowrank.factors import Factors
from codec.lowrank.shift import MovedBase
from codec.plane import planes
from codec.plane.rans import count_bytes
from codec.plane.streams import STREAM_HEADER, pack_plane, pack_stream, worth_coding
from codec.scratch import SCRATCH

_RUNS = 512
"""Many short runs: rows of a matrix differ in scale, and each run sees one or two."""
_PAIRS_PER_ELEMENT = 4
"""How many times as many elements are looked at beside a base: rows move by more or less."""
_MOSTLY_MOVED = 0.9
"""With fewer groups than this that differ at all, those are sampled on their own."""
_REPAYS_TABLE = 1 << 15
"""Bytes of sample that make a code table as light as it is in a block."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The codec to choose and the frame length to expect; ``estimates`` has that of every codec."""

    codec: str
    nbytes: int
    estimates: dict[str, int]

    def with_factors(self, factors: Factors | None) -> Self:
        """The same for frames whose deltas have factors besides."""
        if factors is None:
            return self
        more = len(factors.stored)
        estimates = {
            name: nbytes + more if Method[name] in NEEDS_BASE else nbytes
            for name, nbytes in self.estimates.items()
        }
        best = min(estimates, key=lambda name: estimates[name])
        return type(self)(best, estimates[best], estimates)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Sampled elements of a content and of its base, taken in runs of ``run`` elements.

    They stand for the first ``nbytes`` of both. ``closely`` spends some milliseconds on them.
    ``moved`` is a sample of its own of the groups that differ at all, where many do not.
    """

    target: Bytes
    base: Bytes
    nbytes: int
    run: int
    closely: bool
    moved: "Pair | None" = None


def predict(
    target: Buffer,
    *,
    dtype: str,
    base: Buffer | None = None,
    base_dtype: str | None = None,
    columns: int = 0,
    sample: int = 65536,
) -> Prediction:
    """The best codec for ``target`` and the length of its frame, from ``sample`` elements.

    The elements are taken in 512 runs; all are looked at if there are no more. Of a delta four
    times as many are, in groups that stand for all by how much they differ, for which all bits that
    differ are counted, at about the speed of reading. If less than an eighth of these elements
    differ (a quarter where CTX codes no such dtype), all changes are looked at: few can be counted,
    but not sampled. SPARSE has no estimate if more differ. With a base of another length the common
    part is foretold as a delta and the rest alone. A base of another dtype, ``base_dtype``, is
    cast; ValueError if it cannot be. With ``columns`` factors are made as by :func:`codec.encode`,
    which takes as long as there.
    """
    view, factors = byte_view(target), None
    if base is not None and columns:
        below = byte_view(base)
        words = Words.named(dtype, narrow_dtype(view, dtype=dtype), base_dtype or dtype)
        lengths = {"raw_nbytes": view.size, "base_nbytes": below.size}
        factors = choose_factors(view, below, words=words, columns=columns, **lengths)
        if factors is not None:
            moved = MovedBase(below, below.size, words, factors)
            base, base_dtype = moved.read(0, moved.nbytes), words.coded.name
    options = {"base": base, "base_dtype": base_dtype, "sample": sample}
    return foretell(view, dtype=dtype, only_best=False, **options)[0].with_factors(factors)


def foretell(
    target: Buffer,
    *,
    dtype: str,
    base: Buffer | None = None,
    base_dtype: str | None = None,
    sample: int = 65536,
    only_best: bool = True,
) -> tuple[Prediction, dict[Method, bytes]]:
    """As :func:`predict`, and the tables of codecs if all changes were looked at.

    ``only_best`` leaves codecs that are far behind with the estimate of the sample.
    """
    view = byte_view(target)
    width = layout_of(dtype_of(dtype)).width
    runs = sample_runs(view.size // width, _RUNS, max(1, sample // _RUNS))
    alone = gather(view, runs, width)
    narrow = None if view.size % width else narrow_dtype(alone, dtype=dtype)
    words = Words.named(dtype, narrow, base_dtype or dtype)
    nbytes = words.coded_nbytes(view.size)
    own = np.array(narrowed(words, alone))
    if base is None:
        return predict_sample(own, words.layout, nbytes), {}
    reference = byte_view(base)
    common = words.common_nbytes(view.size, reference.size)
    below = layout_of(dtype_of(base_dtype or dtype)).width
    blocks = paired_blocks(view, reference, words)
    is_whole = narrow is None or narrow_dtype(view, dtype=dtype) == narrow

    def pair_of(runs: list[tuple[int, int]], nbytes: int, moved: Pair | None = None) -> Pair:
        data = np.array(narrowed(words, gather(view, runs, width)))
        base = np.array(cast_base(words, gather(reference, runs, below)))
        return Pair(data, base, nbytes, run=GROUP, closely=True, moved=moved)

    moved = None
    runs = [(0, common // width)] if common else []
    pairs = _PAIRS_PER_ELEMENT * sample
    if common // width > max(pairs, GROUP) and is_whole:
        alike = alike_groups(blocks(), words.layout.width, max(1, pairs // GROUP))
        runs = alike.all
        if 0 < alike.moved_share < _MOSTLY_MOVED:
            moved = pair_of(alike.moved, round(alike.moved_share * words.coded_nbytes(common)))
    elif common // width > pairs:
        runs = sample_runs(common // width, _RUNS, max(1, pairs // _RUNS))
    pair = pair_of(runs, words.coded_nbytes(common), moved)
    sampled = predict_sample(own, words.layout, nbytes, pair)
    if Method.SPARSE.name not in sampled.estimates or not common or not is_whole:
        return sampled, {}
    head = head_nbytes(nbytes)
    rest = (sampled.estimates["PLANE"] - head) * (nbytes - pair.nbytes) / nbytes
    known = {Method[name]: float(length) for name, length in sampled.estimates.items()}
    changes = foretell_changes(
        blocks,
        words.layout,
        pair.nbytes,
        lambda: tables_for(
            view, reference, words=words, raw_nbytes=view.size, base_nbytes=reference.size
        ),
        {method: known[method] - head - rest for method in known} if only_best else None,
    )
    closer = {method: head + length + rest for method, length in changes.nbytes.items()}
    return _prediction(known | closer, head + nbytes), changes.tables


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
    share = _lone_share(alone, layout, is_whole, raw_nbytes)
    estimates = {
        Method.RAW: head + raw_nbytes,
        Method.ZSTD: head + _bytes_share(alone) * raw_nbytes,
        Method.PLANE: headed + share * raw_nbytes,
    }
    if pair is not None:
        rest = share * (raw_nbytes - pair.nbytes)
        xored = _xored_share(pair.target, layout, is_whole, pair.base)
        estimates[Method.BITX] = headed + xored * pair.nbytes + rest
        if layout.exponent and raw_nbytes:
            estimates[Method.CTX] = head + _context_nbytes(pair, layout, raw_nbytes) + rest
        sparse = sampled_changes_nbytes(pair.target, pair.base, layout, pair.nbytes)
        if sparse is not None and raw_nbytes:
            estimates[Method.SPARSE] = head + sparse + rest
    return _prediction(estimates, head + raw_nbytes)


def _prediction(estimates: dict[Method, float], most: int) -> Prediction:
    """Estimates in whole bytes, none above that of RAW; the least of them first in line."""
    rounded = {method.name: min(round(nbytes), most) for method, nbytes in estimates.items()}
    best = min(rounded, key=lambda name: rounded[name])
    return Prediction(best, rounded[best], rounded)


def _lone_share(target: Bytes, layout: Layout, is_whole: bool, raw_nbytes: int) -> float:
    """Coded length of the planes of a sample of ``raw_nbytes``, as a share of its raw length."""
    if not target.size:
        return 1.0
    words = planes.split(target, layout)
    if is_whole and raw_nbytes <= BLOCK_NBYTES:
        return sum(len(pack_plane(plane)[1]) for plane in words) / target.size
    blocks = -(-raw_nbytes // BLOCK_NBYTES)
    scale = raw_nbytes / target.size / blocks
    return sum(_lone_nbytes(plane, scale) for plane in words) / (scale * target.size)


def _lone_nbytes(plane: Bytes, scale: float) -> float:
    """Coded length of a plane in a block, of which there is a sample ``scale`` times as short.

    To the entropy comes what Miller and Madow add for a sample.
    """
    from codec.plane.survey import stream_nbytes

    counts = count_bytes(plane)
    unseen = np.count_nonzero(counts) / (16 * math.log(2)) * scale
    likely = stream_nbytes(counts, scale) + unseen
    nbytes = min(likely, _stream_nbytes(plane, is_whole=False) * scale)
    return nbytes if worth_coding(nbytes, plane.size * scale) else plane.size * scale


def _xored_share(target: Bytes, layout: Layout, is_whole: bool, base: Bytes) -> float:
    """Coded length of the planes of a sampled XOR with a base, as a share of its raw length."""
    if not target.size:
        return 1.0
    coded = sum(_stream_nbytes(plane, is_whole) for plane in planes.split(target, layout, base))
    return coded / target.size


def _context_nbytes(pair: Pair, layout: Layout, raw_nbytes: int) -> float:
    """Length of tables and blocks of the common part."""
    if pair.nbytes - pair.target.size < layout.width and raw_nbytes <= BLOCK_NBYTES:
        return whole_nbytes(pair.target, pair.base, layout)
    sample = pair.moved or pair
    blocks, groups = -(-pair.nbytes // BLOCK_NBYTES), pair.nbytes / layout.width / GROUP
    coded = sampled_nbytes(
        *(sample.target, sample.base, layout, sample.nbytes, sample.run),
        blocks=blocks,
        closely=sample.closely,
    )
    still = 1 - sample.nbytes / max(pair.nbytes, 1)
    told = still * math.log2(still) + (1 - still) * math.log2(1 - still) if 0 < still < 1 else 0.0
    return coded - groups * told / 8


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
