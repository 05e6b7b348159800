"""Deltas whose base moves by a product of low rank: how small, and how quick, beside those without.

    python -m bench.lowrank [--rows 4096] [--columns 4096] [--rounds 5] [--quick]

A LoRA of each rank is merged into synthetic BF16 weights in F32 and rounded, as peft does it; the
last case is an update of full rank whose directions weigh less and less (singular values that fall
as 1 / k), as those of full fine-tunes do. Sizes are shares of the raw bytes; *LoRA* is that of its
two matrices in BF16, which is what its author would have uploaded. Speeds are CPU time of all
threads (BLAS has some), every coder once per round, medians of ratios within a round.
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import codec
from bench.report import interleaved, median, median_ratio, print_table
from bench.synthetic import SIGMA, from_bf16, to_bf16

RANKS = (8, 16, 64)
UPDATE = 0.05
"""Deviation of the update over that of the weights."""
Words = NDArray[np.uint16]


@dataclass(frozen=True)
class Case:
    name: str
    target: Words
    lora_nbytes: int


def cases(base: Words) -> list[Case]:
    chance = np.random.default_rng(3)
    rows, columns = base.shape
    found = []
    for rank in RANKS:
        left = chance.standard_normal((rows, rank)) / np.sqrt(rank)
        right = chance.standard_normal((rank, columns)) * SIGMA * UPDATE
        merged = from_bf16(base) + (left @ right).astype(np.float32)
        found.append(Case(f"LoRA of rank {rank}", to_bf16(merged), 2 * rank * (rows + columns)))
    most = min(rows, columns) // 2
    weights = 1 / np.arange(1, most + 1)
    left = chance.standard_normal((rows, most)) * weights / np.sqrt((weights**2).sum())
    right = chance.standard_normal((most, columns)) * SIGMA * UPDATE
    merged = from_bf16(base) + (left @ right).astype(np.float32)
    return [*found, Case("falling as 1 / k", to_bf16(merged), 0)]


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def frames_of(case: Case, base: Words) -> dict[str, bytes]:
    """Without factors and with them, each decoded again and compared."""
    given = {"dtype": "BF16", "base": base}
    frames = {
        "BITX": codec.encode(case.target, codec="BITX", **given),
        "CTX": codec.encode(case.target, codec="CTX", **given),
        "moved": codec.encode(case.target, columns=base.shape[1], **given),
    }
    for name, frame in frames.items():
        if codec.decode(frame, base=base) != case.target.data.cast("B"):
            raise SystemExit(f"{name} did not give the bytes back")
    return frames


def size_row(case: Case, frames: dict[str, bytes]) -> list[object]:
    raw, info = case.target.nbytes, codec.inspect(frames["moved"])
    shares = [f"{len(frame) / raw:.4f}" for frame in frames.values()]
    lora = f"{case.lora_nbytes / raw:.4f}" if case.lora_nbytes else "-"
    gain = f"{len(frames['moved']) / len(frames['BITX']):.3f}"
    return [case.name, *shares, lora, gain, info.rank, info.codec]


def speed_row(case: Case, base: Words, frames: dict[str, bytes], rounds: int) -> list[object]:
    out, given = np.empty_like(case.target), {"dtype": "BF16", "base": base}
    work: dict[str, Callable[[], object]] = {
        f"decode {name}": functools.partial(codec.decode, frame, base=base, out=out)
        for name, frame in frames.items()
    }
    encode = functools.partial(codec.encode, case.target, **given)
    work["encode CTX"] = functools.partial(encode, codec="CTX")
    work["encode moved"] = functools.partial(encode, columns=base.shape[1])
    timed = {name: functools.partial(cpu, run) for name, run in work.items()}
    taken = interleaved(rounds, timed)
    rates = [f"{case.target.nbytes / median(each) / 1e9:.2f}" for each in taken.values()]
    return [
        *(case.name, *rates),
        f"{median_ratio(taken['decode BITX'], taken['decode moved']):.2f}",
        f"{median_ratio(taken['encode CTX'], taken['encode moved']):.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the size, one round")
    arguments = parser.parse_args()
    rows, columns, rounds = arguments.rows, arguments.columns, arguments.rounds
    if arguments.quick:
        rows, columns, rounds = rows // 4, columns // 4, 1
    chance = np.random.default_rng(1)
    base = to_bf16(chance.standard_normal((rows, columns), np.float32) * SIGMA)
    sizes, speeds = [], []
    for case in cases(base):
        frames = frames_of(case, base)
        sizes.append(size_row(case, frames))
        speeds.append(speed_row(case, base, frames, rounds))
    print_table(
        f"{rows} x {columns} words of BF16, shares of the raw bytes",
        ["update", "BITX", "CTX", "moved", "LoRA", "moved / BITX", "rank", "codec"],
        sizes,
    )
    print_table(
        "GB of raw bytes per second of CPU time",
        [
            *("update", "decode BITX", "decode CTX", "decode moved", "encode CTX", "encode moved"),
            *("decode: moved / BITX", "encode: moved / CTX"),
        ],
        speeds,
    )


if __name__ == "__main__":
    main()
