"""Deltas of which little changed: how near to their entropy, how quick, and how well foretold.

    python -m bench.sparse [--mib 512] [--rounds 7] [--quick]

Synthetic BF16 weights and fine-tunes of them: single steps at random places, in some rows more
than in others, in short bursts; and *rounded*, what is left to see in BF16 after weights of 32 bits
moved by a little, as in a checkpoint of reinforcement learning. The bound is the entropy of which
words changed and of by how much, knowing all shares (of every row, or of every exponent of the
base) for nothing.
Speeds are CPU time of one thread, every coder once per round, medians of ratios within a round.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import codec
from bench.peers import Tensor, bitx_nbytes
from bench.report import interleaved, median, median_ratio, print_table
from bench.synthetic import SIGMA, from_bf16, to_bf16

ROW = 4096
Words = NDArray[np.uint16]


@dataclass(frozen=True)
class Case:
    name: str
    target: Words
    nbytes_bound: float


def entropy(changed: NDArray[np.float64], of: NDArray[np.float64]) -> float:
    """Bits that tell which of these many words changed, for every class of them."""
    share = np.clip(changed / np.maximum(of, 1), 1e-300, 1 - 1e-16)
    bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return float((of * bits).sum())


def order_0(values: NDArray[np.int64]) -> float:
    """Bits of values by their frequencies."""
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(counts.sum() / counts)).sum())


def places(words: Words) -> NDArray[np.int64]:
    """Words in the order of the floats they are."""
    signed = words.astype(np.int64)
    return np.where(signed >> 15, signed ^ 0x7FFF, signed).astype(np.int16).astype(np.int64)


def stepped(base: Words, changed: NDArray[np.bool_], rng: np.random.Generator) -> Words:
    """A copy in which the chosen words are the next or the last float."""
    target = base.copy()
    where = np.flatnonzero(changed)
    target[where] += np.where(rng.random(where.size) < 0.5, 1, 0xFFFF).astype(np.uint16)
    return target


def at_random(base: Words, shares: NDArray[np.float64], name: str) -> Case:
    """Steps with a share of their own in every equal part of the weights."""
    rng = np.random.default_rng(1)
    parts = base.reshape(shares.size, -1)
    changed = np.concatenate([rng.random(parts.shape[1], np.float32) < share for share in shares])
    counts = changed.reshape(parts.shape).sum(axis=1).astype(np.float64)
    bits = entropy(counts, np.full(shares.size, float(parts.shape[1]))) + counts.sum()
    return Case(name, stepped(base, changed, rng), bits / 8)


def in_bursts(base: Words, share: float, length: int = 32) -> Case:
    """Runs of words of which every second one changed."""
    rng = np.random.default_rng(2)
    runs = rng.random(base.size // length) < 2 * share
    changed = np.repeat(runs, length) & (rng.random(base.size, np.float32) < 0.5)
    told = entropy(np.array([runs.sum()]), np.array([runs.size])) + runs.sum() * length
    return Case("bursts of 32", stepped(base, changed, rng), (told + changed.sum()) / 8)


def rounded(base: Words, step: float) -> Case:
    """Originals anywhere between two BF16, which moved by a Laplacian step."""
    target = np.empty_like(base)
    rng = np.random.default_rng(3)
    told, values = np.zeros((2, 256)), [list[NDArray[np.int64]]() for _ in range(256)]
    for first in range(0, base.size, 1 << 22):
        part = base[first : first + (1 << 22)]
        ulp = np.ldexp(1.0, ((part >> 7) & 255).astype(np.int32) - 134)
        exact = from_bf16(part) + (rng.random(part.size) - 0.5) * ulp
        moved = to_bf16((exact + rng.laplace(size=part.size) * step).astype(np.float32))
        target[first : first + part.size] = moved
        differs, exponents = moved != part, (part >> 7) & 255
        told += [
            np.bincount(exponents[differs], minlength=256),
            np.bincount(exponents, minlength=256),
        ]
        difference = places(moved[differs]) - places(part[differs])
        for exponent in np.unique(exponents[differs]):
            values[exponent].append(difference[exponents[differs] == exponent])
    bits = entropy(told[0], told[1])
    bits += sum(order_0(np.concatenate(parts)) for parts in values if parts)
    return Case(f"rounded, step {step:.0e}", target, bits / 8)


def cases(base: Words) -> Iterator[Case]:
    for share in (0.0001, 0.001, 0.01, 0.1):
        yield at_random(base, np.array([share]), f"random {share:.2%}")
    rng = np.random.default_rng(4)
    rows = base.size // ROW
    yield at_random(base, np.where(rng.random(rows) < 0.1, 0.1, 0.0), "a tenth of the rows, 10%")
    uneven = np.minimum(0.9, 0.003 * np.exp(1.5 * rng.standard_normal(rows)))
    yield at_random(base, uneven, "rows log-normal")
    yield in_bursts(base, 0.01)
    for step in (1e-8, 1e-7, 1e-6):
        yield rounded(base, step)


def weights(nbytes: int) -> Words:
    """Gaussian weights, every row with a scale of its own."""
    rng = np.random.default_rng(0)
    rows = [
        to_bf16(
            rng.standard_normal((256, ROW), np.float32)
            * np.exp(0.25 * rng.standard_normal((256, 1), np.float32))
            * np.float32(SIGMA)
        )
        for _ in range(nbytes // 2 // ROW // 256)
    ]
    return np.concatenate(rows).reshape(-1)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def row_of(case: Case, base: Words, rounds: int) -> list[object]:
    target, out = case.target, np.empty_like(base)
    arguments = {"dtype": "BF16", "base": base}
    frames = {
        name: codec.encode(target, codec=name, **arguments) for name in ("CTX", "SPARSE", "auto")
    }
    for frame in frames.values():
        codec.decode(frame, base=base, out=out)
        if not np.array_equal(out, target):
            raise SystemExit(f"{case.name} did not come back")
    foretold = codec.predict(target, **arguments)
    raw, below = (Tensor("BF16", words.shape, words.view(np.uint8)) for words in (target, base))
    published = bitx_nbytes(raw, below)
    chosen = frames["auto"]
    times = interleaved(
        rounds,
        {
            "memcpy": lambda: seconds(lambda: np.copyto(out, base)),
            "decode": lambda: seconds(lambda: codec.decode(chosen, base=base, out=out)),
            "encode": lambda: seconds(lambda: codec.encode(target, codec="SPARSE", **arguments)),
            "predict": lambda: seconds(lambda: codec.predict(target, **arguments)),
        },
    )
    return [
        case.name,
        f"{np.count_nonzero(target != base) / base.size:.3%}",
        f"{published / target.nbytes:.5f}",
        f"{len(frames['CTX']) / published:.3f}",
        f"{len(frames['SPARSE']) / published:.3f}",
        codec.inspect(chosen).codec,
        f"{len(chosen) / case.nbytes_bound:.3f}",
        f"{foretold.nbytes / len(chosen):.4f}",
        f"{median_ratio(times['memcpy'], times['decode']):.2f}",
        *(
            f"{target.nbytes / median(times[name]) / 1e9:.2f}"
            for name in ("decode", "encode", "predict")
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, help="length of the tensor (512; quick: 32)")
    parser.add_argument("--rounds", type=int, help="rounds of each coder (7; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="a small tensor, few rounds")
    arguments = parser.parse_args()
    mib = arguments.mib or (32 if arguments.quick else 512)
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    base = weights(mib << 20)
    rows = [row_of(case, base, rounds) for case in cases(base)]
    head = ["changes", "changed", "BitX / raw", "CTX / BitX", "SPARSE / BitX", "auto"]
    head += [
        "auto / bound",
        "foretold / auto",
        "dec / memcpy",
        "dec GB/s",
        "enc GB/s",
        "predict GB/s",
    ]
    print_table(f"{mib} MiB of BF16 of which little changed", head, rows)


if __name__ == "__main__":
    main()
