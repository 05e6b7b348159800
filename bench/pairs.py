"""Delta lengths on real pairs: fine-tunes of the corpus against the base they were made from.

    python -m bench.pairs [--quick]

Tensors that did not change are left out, since every hub stores them once. Columns are shares of
the raw bytes, then our CTX over BitX as published (zstd level 3) and over the best of zstd levels
1, 3, 9 and 19 and the tuned setting of our BITX on the same planes.
"""

import argparse
from pathlib import Path

import numpy as np
import zstandard

import codec
from bench.corpus import Corpus, ensure
from bench.peers import Tensor, base_tensors, bitx_nbytes, read_tensors
from bench.report import print_table

LEVELS = (1, 3, 9, 19)
QUICK_LEVELS = (1, 3)


def pairs_of(corpus: Corpus, weights: list[Path]) -> list[tuple[Tensor, Tensor]]:
    """Changed tensors of a model beside their bases of the same dtype and shape."""
    pairs = []
    for path in weights:
        base = base_tensors(corpus, path)
        for name, tensor in read_tensors(path).items():
            below = base.get(name)
            alike = below is not None and (below.dtype, below.shape) == (tensor.dtype, tensor.shape)
            if below is not None and alike and not np.array_equal(tensor.raw, below.raw):
                pairs.append((tensor, below))
    return pairs


def best_zstd_nbytes(tensor: Tensor, base: Tensor, levels: tuple[int, ...]) -> int:
    """XOR planes, each under the level that is best for it."""
    width = 4 if tensor.dtype == "F32" else 2
    planes = np.ascontiguousarray((tensor.raw ^ base.raw).reshape(-1, width).T)
    compressors = [zstandard.ZstdCompressor(level=level) for level in levels]
    return sum(
        min(plane.size, *(len(compressor.compress(plane)) for compressor in compressors))
        for plane in planes
    )


def encoded_nbytes(tensor: Tensor, base: Tensor, name: str) -> int:
    frame = codec.encode(tensor.raw, dtype=tensor.dtype, base=base.raw, codec=name)
    if codec.decode(frame, base=base.raw) != tensor.raw.data:
        raise SystemExit(f"{name} did not give the bytes back")
    return len(frame)


def row_of(name: str, pairs: list[tuple[Tensor, Tensor]], levels: tuple[int, ...]) -> list[object]:
    raw = sum(tensor.raw.nbytes for tensor, _ in pairs)
    bits = sum(
        codec.bit_distance(tensor.raw, base.raw, dtype=tensor.dtype) * tensor.raw.nbytes
        for tensor, base in pairs
    )
    published = sum(bitx_nbytes(*pair) for pair in pairs)
    ours = {
        codec_name: sum(encoded_nbytes(*pair, codec_name) for pair in pairs)
        for codec_name in ("BITX", "CTX", "auto")
    }
    best = min(ours["BITX"], sum(best_zstd_nbytes(*pair, levels) for pair in pairs))
    foretold = sum(
        codec.predict(tensor.raw, dtype=tensor.dtype, base=base.raw).nbytes
        for tensor, base in pairs
    )
    return [
        f"{name} ({pairs[0][0].dtype})",
        f"{raw / 1e6:.1f}",
        f"{bits / raw:.2f}",
        *(f"{nbytes / raw:.4f}" for nbytes in (published, best, *ours.values())),
        f"{ours['CTX'] / published:.3f}",
        f"{ours['CTX'] / best:.3f}",
        f"{foretold / ours['auto']:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Delta lengths on real pairs.")
    parser.add_argument("--quick", action="store_true", help="fewer zstd levels")
    levels = QUICK_LEVELS if parser.parse_args().quick else LEVELS
    corpus = ensure()
    rows = []
    for repo in corpus.repos:
        pairs = pairs_of(corpus, corpus.weights(repo)) if repo.base else []
        if pairs:
            rows.append(row_of(repo.name, pairs, levels))
    head = ["pair", "MB", "bits", "BitX zstd-3", "best zstd", "BITX", "CTX", "auto"]
    head += ["CTX / BitX", "CTX / best", "foretold / auto"]
    print_table("Real pairs, changed tensors only", head, rows)


if __name__ == "__main__":
    main()
