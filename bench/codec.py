"""The codec beside its peers: size and speed of one BF16 tensor, alone and against its base.

    python -m bench.codec [--mib 128] [--rounds 9] [--quick]

Every round runs every coder once, in CPU time of one thread, so that all see the same machine;
the table has the median of each and the medians of their ratios within a round. Peers: memcpy;
BitX as published (XOR, exponent and sign-mantissa planes, zstd level 3, 1 MiB pieces); the same
planes without XOR; ZipNN, which is given the XOR for the delta.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zstandard
from zipnn import ZipNN

import codec
from bench.report import interleaved, median, median_ratio, print_table
from codec import planes
from codec.dtypes import DType, layout_of

PIECE_NBYTES = 1 << 20
LAYOUT = layout_of(DType.BF16)


@dataclass
class Coder:
    name: str
    encode: Callable[[], list[bytes]]
    decode: Callable[[list[bytes]], None]


def bf16(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def synthetic_pair(nbytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian weights with a scale of their own per row, and a step of 1.2e-4."""
    rng = np.random.default_rng(0)
    rows = nbytes // 2 // 4096
    scale = 0.02 * np.exp(0.25 * rng.standard_normal((rows, 1), dtype=np.float32))
    base = rng.standard_normal((rows, 4096), dtype=np.float32) * scale
    step = rng.standard_normal((rows, 4096), dtype=np.float32) * np.float32(1.2e-4)
    return bf16(base).view(np.uint8).ravel(), bf16(base + step).view(np.uint8).ravel()


def pieces(data: np.ndarray) -> list[np.ndarray]:
    return [data[start : start + PIECE_NBYTES] for start in range(0, data.size, PIECE_NBYTES)]


def ours(name: str, target: np.ndarray, base: np.ndarray | None, out: np.ndarray) -> Coder:
    def encode() -> list[bytes]:
        return [codec.encode(target, dtype="BF16", base=base, codec=name)]

    def decode(stored: list[bytes]) -> None:
        codec.decode(stored[0], base=base, out=out)

    return Coder(f"ours {name}", encode, decode)


def published(name: str, target: np.ndarray, base: np.ndarray | None, out: np.ndarray) -> Coder:
    compressor = zstandard.ZstdCompressor(level=3)
    decompressor = zstandard.ZstdDecompressor()
    bases = [None] * len(pieces(target)) if base is None else pieces(base)

    def encode() -> list[bytes]:
        stored = []
        for part, reference in zip(pieces(target), bases, strict=True):
            words = part if reference is None else part ^ reference
            stored += [compressor.compress(plane) for plane in planes.split(words, LAYOUT)]
        return stored

    def decode(stored: list[bytes]) -> None:
        plain = [np.frombuffer(decompressor.decompress(part), np.uint8) for part in stored]
        for k, (part, reference) in enumerate(zip(pieces(out), bases, strict=True)):
            planes.merge(plain[2 * k : 2 * k + 2], LAYOUT, part)
            if reference is not None:
                np.bitwise_xor(part, reference, out=part)

    return Coder(name, encode, decode)


def zipnn(name: str, target: np.ndarray, base: np.ndarray | None, out: np.ndarray) -> Coder:
    coder = ZipNN(bytearray_dtype="bfloat16", threads=1)

    def encode() -> list[bytes]:
        # ZipNN writes into the buffer it is given, so it gets its own.
        words = target if base is None else target ^ base
        return [bytes(coder.compress(bytearray(part.tobytes()))) for part in pieces(words)]

    def decode(stored: list[bytes]) -> None:
        for k, part in enumerate(stored):
            plain = np.frombuffer(coder.decompress(part), np.uint8)
            room = out[k * PIECE_NBYTES : k * PIECE_NBYTES + plain.size]
            if base is None:
                room[:] = plain
            else:
                np.bitwise_xor(plain, base[k * PIECE_NBYTES :][: plain.size], out=room)

    return Coder(name, encode, decode)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(title: str, coders: list[Coder], target: np.ndarray, out: np.ndarray, rounds: int):
    stored = {coder.name: coder.encode() for coder in coders}
    for coder in coders:
        out[:] = 0
        coder.decode(stored[coder.name])
        if not np.array_equal(out, target):
            raise SystemExit(f"{coder.name} did not give the bytes back")
    copy = {"memcpy": lambda: seconds(lambda: np.copyto(out, target))}
    decode_s = interleaved(
        rounds,
        copy | {c.name: lambda c=c: seconds(lambda: c.decode(stored[c.name])) for c in coders},
    )
    encode_s = interleaved(rounds, {c.name: lambda c=c: seconds(c.encode) for c in coders})
    peers = ["memcpy", *(coder.name for coder in coders[1:])]
    rows = [
        [
            coder.name,
            f"{sum(map(len, stored[coder.name])) / target.size:.4f}",
            f"{target.size / median(encode_s[coder.name]) / 1e9:.2f}",
            f"{target.size / median(decode_s[coder.name]) / 1e9:.2f}",
            *(f"{median_ratio(decode_s[peer], decode_s[coder.name]):.2f}" for peer in peers),
        ]
        for coder in coders
    ]
    head = ["coder", "size", "enc GB/s", "dec GB/s", *(f"dec / {peer}" for peer in peers)]
    print_table(title, head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, help="length of the tensor (128; quick: 16)")
    parser.add_argument("--rounds", type=int, help="rounds of each coder (9; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="a small tensor, few rounds")
    arguments = parser.parse_args()
    mib = arguments.mib or (16 if arguments.quick else 128)
    rounds = arguments.rounds or (3 if arguments.quick else 9)
    base, target = synthetic_pair(mib << 20)
    out = np.empty_like(target)
    about = f"{mib} MiB of BF16 (synthetic), one thread, CPU time, medians of {rounds} rounds"
    alone = (target, None, out)
    coders = [ours("PLANE", *alone), published("planes zstd-3", *alone), zipnn("zipnn", *alone)]
    measure(f"Alone: {about}", coders, target, out, rounds)
    delta = (target, base, out)
    coders = [
        ours("CTX", *delta),
        ours("BITX", *delta),
        published("BitX zstd-3", *delta),
        zipnn("zipnn of XOR", *delta),
    ]
    measure(f"Against its base: {about}", coders, target, out, rounds)


if __name__ == "__main__":
    main()
