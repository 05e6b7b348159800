"""The codec beside its peers: every figure it promises, on real weights and on synthetic ones.

    python -m bench.codec [--mib 512] [--rounds 9] [--quick] [--json FILE] [--only PART …]

Sizes are of real pairs (``bench.pairs``). For speeds every coder has a process of its own, and all
run in turn within every round, so that all see the same machine; the tables have medians of CPU
time and of wall time, and ratios are medians of ratios within a round. Peers: memcpy; zstd levels
1, 3 and tuned, LZ4 and OpenZL on byte planes; blosc2, pcodec and ZipNN on words. Against a base
they take the XOR; with zstd-3 on its planes that is BitX as published.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import codec
from bench import pairs
from bench.codec_data import base_weights, joined, kept, real_pairs, synthetic_pair
from bench.codec_figures import Figure, print_figures, write_json
from bench.codec_peers import BITX, CODERS, MEMCPY, ZIPNN
from bench.codec_sides import TARGETS, Side, Sides, Tensor, Times, faster, speed
from bench.report import print_table

RANGE_NBYTES = 64 << 10
HUGE_NBYTES = 1 << 30
REAL_PAIR = "minilm-code"
Measured = dict[Side, Times]


def main_sides(ours: str) -> list[Side]:
    """Ours on all there is, on less, and on two threads; the peers of the promises."""
    from codec.machine.instructions import instruction_set

    below = [] if instruction_set() == "portable" else list(TARGETS)
    return [
        Side(MEMCPY),
        Side(ours),
        *(Side(ours, instructions=each) for each in below if each != instruction_set()),
        Side(ours, threads=2),
        Side(BITX),
        Side(ZIPNN),
    ]


def measure(tensor: Tensor, sides: list[Side], rounds: int) -> Measured:
    """Measure and print one comparison."""
    with Sides(tensor, sides) as processes:
        times = processes.measure(rounds, max(3, rounds // 2))
    rows = []
    first = next(times[side] for side in sides if side.coder not in CODERS)
    for side, each in times.items():
        rows.append(
            [
                side.label,
                f"{each.stored_nbytes / tensor.nbytes:.4f}",
                f"{speed(tensor.nbytes, each.encode_cpu):.2f}",
                f"{speed(tensor.nbytes, each.encode_wall):.2f}",
                f"{speed(tensor.nbytes, each.decode_cpu):.2f}",
                f"{speed(tensor.nbytes, each.decode_wall):.2f}",
                f"{faster(first.decode_cpu, each.decode_cpu):.2f}",
                f"{faster(first.encode_cpu, each.encode_cpu):.2f}",
            ]
        )
    head = ["coder", "size", "enc cpu", "enc wall", "dec cpu", "dec wall", "ours ×dec", "ours ×enc"]
    against = "alone" if tensor.base is None else "against its base"
    note = "GB of raw bytes per second; the last two: how many times as fast ours is, in CPU time"
    print_table(f"{tensor.title} ({tensor.dtype}), {against}, {rounds} rounds", head, rows, note)
    return times


DELTA_DECODE = {"BitX zstd-3": (BITX, 1.4, 2.2), "zipnn": (ZIPNN, 1.9, 3.3)} | {
    "memcpy": (MEMCPY, 0.17, 0.25)
}
ALONE_DECODE = {"zipnn": (ZIPNN, 1.8, 2.7), "memcpy": (MEMCPY, 0.24, 0.30)}
"""Peers of decoding: what ours must reach beside them, and what it aims at."""
Bounds = dict[str, tuple[str, float, float]]


def delta_figures(tensor: Tensor, times: Measured, ours: str) -> list[Figure]:
    """Promises about a BF16 delta."""
    about = tensor.title
    encode = faster(times[Side(ours)].encode_cpu, times[Side(BITX)].encode_cpu)
    return [
        *decode_figures(times, Side(ours), "delta decode", DELTA_DECODE, about),
        _at_least("delta encode / BitX zstd-3", encode, 0.8, 1.5, about),
        *below_figures(times, ours, "delta decode", DELTA_DECODE, about),
        *thread_figures(times, ours, "delta", about),
    ]


def alone_figures(tensor: Tensor, times: Measured, ours: str) -> list[Figure]:
    """Promises about a BF16 tensor without a base."""
    about = tensor.title
    size = times[Side(ours)].stored_nbytes / times[Side(ZIPNN)].stored_nbytes
    return [
        *decode_figures(times, Side(ours), "alone decode", ALONE_DECODE, about),
        Figure("alone size / zipnn", size, 1.0, about=about),
        *below_figures(times, ours, "alone decode", ALONE_DECODE, about),
        *thread_figures(times, ours, "alone", about),
    ]


def decode_figures(
    times: Measured, side: Side, what: str, peers: Bounds, about: str
) -> list[Figure]:
    """How fast a side of ours decodes beside its peers."""
    ours = times[side].decode_cpu
    return [
        _at_least(f"{what} / {name}", faster(ours, times[Side(peer)].decode_cpu), must, aim, about)
        for name, (peer, must, aim) in peers.items()
    ]


def below_figures(times: Measured, ours: str, what: str, peers: Bounds, about: str) -> list[Figure]:
    """What is left on fewer instructions."""
    figures = []
    one, bitx = times[Side(ours)], times[Side(BITX)]
    side = Side(ours, instructions="avx2")
    avx2 = times.get(side)
    if avx2 is not None:
        ratio = faster(avx2.decode_cpu, one.decode_cpu)
        figures.append(_at_least(f"{what}, AVX2 / AVX-512", ratio, 0.7, 0.9, about))
        figures += decode_figures(times, side, f"{what}, AVX2", peers, about)
    portable = times.get(Side(ours, instructions="portable"))
    if portable is not None:
        ratio = faster(portable.decode_cpu, bitx.decode_cpu)
        figures.append(_at_least(f"{what}, portable / BitX zstd-3", ratio, 0.6, 0.8, about))
    return figures


def thread_figures(times: Measured, ours: str, kind: str, about: str) -> list[Figure]:
    """Two threads beside one, in wall time; with the bound that CPU time sets on idle cores."""
    one, two = times[Side(ours)], times[Side(ours, threads=2)]
    figures = []
    for what in ("decode", "encode"):
        ratio = faster(getattr(two, f"{what}_wall"), getattr(one, f"{what}_wall"))
        cpu = faster(getattr(two, f"{what}_cpu"), getattr(one, f"{what}_cpu"))
        told = f"{about}; by CPU time alone {2 * cpu:.2f}, load {os.getloadavg()[0]:.1f}"
        figures.append(_at_least(f"two threads / one, {kind} {what}", ratio, 1.7, 1.9, told))
    return figures


def range_figures(*, quick: bool) -> list[Figure]:
    """How many blocks a short range of a large tensor touches, counted at its source."""
    nbytes = HUGE_NBYTES >> 5 if quick else HUGE_NBYTES
    weights = base_weights("BF16")
    target = np.resize(weights, nbytes)
    frame = codec.encode(target, dtype="BF16", codec="PLANE", threads=2)
    head = codec.FrameHead.parse(frame)
    bounds = {head.block_range(index) for index in range(head.block_count)}
    worst = 0
    for start in (0, nbytes // 3, nbytes - RANGE_NBYTES, (1 << 20) - RANGE_NBYTES // 2):
        asked: list[tuple[int, int]] = []

        def read(first: int, last: int, asked=asked) -> memoryview:
            asked.append((first, last))
            return memoryview(frame)[first:last]

        stop = start + RANGE_NBYTES
        if codec.decode_range(read, start, stop) != target[start:stop].tobytes():
            raise SystemExit("a range did not come back")
        touched = sum(
            any(first < end and begin < last for first, last in asked) for begin, end in bounds
        )
        worst = max(worst, touched)
    about = f"64 KiB of {nbytes >> 20} MiB"
    return [Figure("blocks touched by decode_range", worst, 2, about=about)]


def _at_least(name: str, value: float, must: float, aim: float, about: str) -> Figure:
    return Figure(name, value, must, aim, less=False, about=about)


def synthetic_delta(mib: int, rounds: int) -> list[Figure]:
    with _scratch() as directory:
        tensor = synthetic_pair(directory, mib << 20)
        return delta_figures(tensor, measure(tensor, main_sides("CTX"), rounds), "CTX")


def synthetic_alone(mib: int, rounds: int) -> list[Figure]:
    with _scratch() as directory:
        pair = synthetic_pair(directory, mib << 20)
        tensor = Tensor(pair.title, pair.dtype, pair.target)
        return alone_figures(tensor, measure(tensor, main_sides("PLANE"), rounds), "PLANE")


def real_delta(_mib: int, rounds: int) -> list[Figure]:
    [found] = [each for each in real_pairs() if each.name == REAL_PAIR]
    target = joined(pair.target for pair in found.pairs)
    base = joined(pair.base for pair in found.pairs)
    with _scratch() as directory:
        tensor = kept(directory, f"real {REAL_PAIR}", found.dtype, target, base)
        sides = [*main_sides("CTX"), Side("BITX"), *_other_peers()]
        return delta_figures(tensor, measure(tensor, sides, rounds), "CTX")


def real_alone(_mib: int, rounds: int) -> list[Figure]:
    with _scratch() as directory:
        tensor = kept(directory, "real minilm", "BF16", base_weights("BF16"))
        sides = [*main_sides("PLANE"), *_other_peers()]
        return alone_figures(tensor, measure(tensor, sides, rounds), "PLANE")


def _other_peers() -> list[Side]:
    return [Side(name) for name in CODERS if name not in {MEMCPY, BITX, ZIPNN}]


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clade-bench-") as directory:
        yield Path(directory)


SPEEDS: dict[str, Callable[[int, int], list[Figure]]] = {
    "delta": synthetic_delta,
    "alone": synthetic_alone,
    "real-delta": real_delta,
    "real-alone": real_alone,
}
"""Every promise about speed, in parts that take some minutes each: of MiB and rounds."""
PARTS = ("sizes", *SPEEDS, "ranges")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, help="length of the synthetic tensor (512; quick: 16)")
    parser.add_argument("--rounds", type=int, help="rounds of each coder (9; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="small tensors, few rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of it")
    arguments = parser.parse_args()
    quick = arguments.quick
    mib = arguments.mib or (16 if quick else 512)
    rounds = arguments.rounds or (3 if quick else 9)
    figures: list[Figure] = []
    codec.load()
    if "sizes" in arguments.only:
        sizes = pairs.run(quick=quick)
        pairs.print_sizes(sizes)
        figures += pairs.figures_of(sizes)
    for name, part in SPEEDS.items():
        if name in arguments.only:
            figures += part(mib, rounds)
    if "ranges" in arguments.only:
        figures += range_figures(quick=quick)
    print_figures(figures)
    if arguments.json:
        write_json(arguments.json, figures, {"mib": mib, "rounds": rounds, "quick": quick})


if __name__ == "__main__":
    main()
