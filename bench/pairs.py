"""Delta lengths on real pairs: fine-tunes against the base they were made from.

    python -m bench.pairs [--quick]

Tensors that did not change are left out, since every hub stores them once. Columns are shares of
the raw bytes: BitX as published (XOR, zstd level 3), the best of zstd levels 1, 3, 9 and 19 and of
our tuned setting on XOR planes, our BITX, CTX, and what ``auto`` makes of each tensor.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import zstandard

import codec
from bench.codec_data import WIDTHS, Pair, PairSet, real_pairs
from bench.codec_figures import Figure, print_figures
from bench.peers import Tensor, bitx_nbytes
from bench.report import median, print_table

LEVELS = (1, 3, 9, 19)
QUICK_LEVELS = (1, 3)
QUICK_NBYTES = 4 << 20
HEAVY_BITS = 4.0
LARGE_NBYTES = 1 << 20
"""Tensors from this length on are foretold from a sample."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Bytes of one set of pairs in every form, and how it differs from its base."""

    pairs: PairSet
    bits: float
    """Differing bits per element."""
    published: int
    best_zstd: int
    bitx: int
    ctx: int
    auto: int
    foretold: int
    furthest: float
    """Of single large tensors: the largest |predicted / real - 1|."""
    entropy: float
    """Bytes of the best code of which elements changed and by how much, given the exponent (and
    the sign) of the base's element and nothing else. 0 where many changed."""


def measure(pairs: PairSet, levels: tuple[int, ...]) -> Sizes:
    """Encode everything, decode it again, compare."""
    each = [_measure_pair(pair, levels) for pair in pairs.pairs]
    columns = list(zip(*each, strict=True))
    elements = pairs.raw_nbytes // WIDTHS[pairs.dtype]
    return Sizes(
        pairs,
        sum(columns[0]) / elements,
        *(int(sum(column)) for column in columns[1:7]),
        max(columns[7]),
        _entropy_nbytes(pairs) if pairs.is_sparse else 0.0,
    )


def _measure_pair(pair: Pair, levels: tuple[int, ...]) -> tuple[float, ...]:
    target, base, dtype = pair.target, pair.base, pair.dtype
    words = target.nbytes / WIDTHS[dtype]
    frames = {name: encoded_nbytes(pair, name) for name in ("BITX", "CTX", "auto")}
    foretold = codec.predict(target, dtype=dtype, base=base, columns=pair.columns).nbytes
    off = abs(foretold / frames["auto"] - 1) if target.nbytes >= LARGE_NBYTES else 0.0
    return (
        codec.bit_distance(target, base, dtype=dtype) * words,
        bitx_nbytes(Tensor(dtype, (), target), Tensor(dtype, (), base)),
        min(best_zstd_nbytes(pair, levels), frames["BITX"]),
        *frames.values(),
        foretold,
        off,
    )


def encoded_nbytes(pair: Pair, name: str) -> int:
    """Length of its frame, decoded again and compared; "auto" is told that it is a matrix."""
    columns = pair.columns if name == "auto" else 0
    options = {"codec": name, "columns": columns}
    frame = codec.encode(pair.target, dtype=pair.dtype, base=pair.base, **options)
    if codec.decode(frame, base=pair.base) != pair.target.data:
        raise SystemExit(f"{name} did not give the bytes back")
    return len(frame)


def best_zstd_nbytes(pair: Pair, levels: tuple[int, ...]) -> int:
    """XOR planes, each under the level that is best for it."""
    planes = np.ascontiguousarray((pair.target ^ pair.base).reshape(-1, WIDTHS[pair.dtype]).T)
    compressors = [zstandard.ZstdCompressor(level=level) for level in levels]
    return sum(
        min(plane.size, *(len(compressor.compress(plane)) for compressor in compressors))
        for plane in planes
    )


def _entropy_nbytes(pairs: PairSet) -> float:
    """Which elements changed, and by how much, each on its own order 0 by the base's top bits."""
    columns = [pair.words() for pair in pairs.pairs]
    target, base = (np.concatenate(column) for column in zip(*columns, strict=True))
    shift = {"BF16": 7, "F16": 10, "F32": 23}[pairs.dtype]
    bits = 0.0
    for top in np.unique(base >> shift):
        here = base >> shift == top
        differences = (target[here] - base[here]).astype(target.dtype)
        changed = differences[differences != 0]
        share = changed.size / differences.size
        _, counts = np.unique(changed, return_counts=True)
        bits += differences.size * _bits(np.array([share, 1 - share]))
        bits += changed.size * _bits(counts / max(1, changed.size))
    return bits / 8


def _bits(shares: np.ndarray) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())


def figures_of(all_sizes: list[Sizes]) -> list[Figure]:
    """Every promise about lengths."""
    dense = [sizes for sizes in all_sizes if not sizes.pairs.is_sparse]
    halves = [sizes for sizes in dense if sizes.pairs.dtype == "BF16"]
    figures = []
    to_bitx = {sizes: sizes.auto / sizes.published for sizes in halves}
    for heavy, must in ((False, 0.80), (True, 0.86)):
        of = {s: ratio for s, ratio in to_bitx.items() if (s.bits > HEAVY_BITS) is heavy}
        if of:
            title = f"bf16 delta size / BitX, worst{' of heavy drift' if heavy else ''}"
            figures.append(_worst(title, of, must))
    figures.append(Figure("bf16 delta size / BitX, median", median(to_bitx.values()), 0.70, 0.64))
    to_best = {sizes: sizes.auto / sizes.best_zstd for sizes in halves}
    figures.append(_worst("bf16 delta size / best zstd on XOR planes", to_best, 0.85, 0.70))
    singles = {s: s.auto / s.published for s in dense if s.pairs.dtype == "F32"}
    figures.append(_worst("fp32 delta size / BitX", singles, 0.92, 0.82))
    sparse = [sizes for sizes in all_sizes if sizes.pairs.is_sparse]
    if sparse:
        to_published = {sizes: sizes.auto / sizes.published for sizes in sparse}
        figures.append(_worst("sparse size / BitX", to_published, 0.60))
        to_entropy = {sizes: sizes.auto / sizes.entropy for sizes in sparse}
        figures.append(_worst("sparse size / entropy by exponent", to_entropy, None, 1.10))
    off = {sizes: abs(sizes.foretold / sizes.auto - 1) for sizes in all_sizes}
    figures.append(_worst("|predicted / real - 1|, models", off, 0.02, 0.01))
    furthest = {sizes: sizes.furthest for sizes in all_sizes}
    figures.append(_worst("|predicted / real - 1|, tensors from 1 MiB", furthest, 0.02, 0.01))
    return figures


def _worst(
    title: str, ratios: dict[Sizes, float], must: float | None, aim: float | None = None
) -> Figure:
    which = max(ratios, key=lambda sizes: ratios[sizes])
    return Figure(title, ratios[which], must, aim, about=which.pairs.name)


def print_sizes(all_sizes: list[Sizes]) -> None:
    rows = []
    for sizes in all_sizes:
        raw = sizes.pairs.raw_nbytes
        forms = (sizes.published, sizes.best_zstd, sizes.bitx, sizes.ctx, sizes.auto)
        rows.append(
            [
                f"{sizes.pairs.name} ({sizes.pairs.dtype})",
                f"{raw / 1e6:.1f}",
                f"{sizes.bits:.2f}",
                f"{sizes.pairs.changed_share:.2%}",
                *(f"{nbytes / raw:.4f}" for nbytes in forms),
                f"{sizes.auto / sizes.published:.3f}",
                f"{sizes.auto / sizes.best_zstd:.3f}",
                f"{sizes.foretold / sizes.auto:.3f}",
            ]
        )
    head = ["pair", "MB", "bits", "changed", "BitX zstd-3", "best zstd", "BITX", "CTX", "auto"]
    head += ["auto / BitX", "auto / best", "foretold / auto"]
    print_table("Real pairs, changed tensors only", head, rows)


def run(*, quick: bool) -> list[Sizes]:
    """All real pairs; ``quick`` takes some tensors of each and two zstd levels."""
    found = real_pairs()
    if quick:
        found = [pairs.cut(QUICK_NBYTES) for pairs in found]
    return [measure(pairs, QUICK_LEVELS if quick else LEVELS) for pairs in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Delta lengths on real pairs.")
    parser.add_argument("--quick", action="store_true", help="some tensors, fewer zstd levels")
    all_sizes = run(quick=parser.parse_args().quick)
    print_sizes(all_sizes)
    print_figures(figures_of(all_sizes))


if __name__ == "__main__":
    main()
