"""Writes the golden frames of a format version, once: files that exist are never overwritten.

    python -m tests.codec.make_golden

Each case is a folder with ``target``, ``base`` and a frame per codec. Frames are what this version
wrote on that day; later encoders may write others, later decoders must read these.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

import codec
from codec.choice.pairing import sparse_tables_for
from codec.elements.dtypes import DType, layout_of
from codec.lowrank.factors import Factors
from codec.lowrank.shift import moved_base
from tests.codec import tensors
from tests.codec.elements import naive as naive_casts
from tests.codec.lowrank import naive as naive_lowrank

FOLDER = Path(__file__).parent / "golden" / f"v{codec.frames.head.VERSION}"
CODECS = ("RAW", "ZSTD", "PLANE", "BITX", "CTX")
SPARSE_DTYPES = ("U8", "F8_E4M3", "I16", "BF16", "F16", "F32", "I64", "F64")
"""Every width, as integers and as floats."""
SIGN_DTYPES = ("BF16", "F16", "F8_E4M3", "F8_E5M2")
"""Words of one and two bytes that CTX codes."""
PLANE_DTYPES = ("BF16", "F32", "F64", "F8_E4M3")
"""Few values in a plane and many, with fields and without."""


def content(dtype: str) -> tuple[bytes, bytes]:
    """Target and base: about 600 words with every awkward value, and bytes left over."""
    if dtype in tensors.FLOATS:
        base, target = tensors.pair(dtype, 600, seed=1)
        target = np.concatenate([target, tensors.awkward(dtype)])
        base = np.concatenate([base, np.roll(tensors.awkward(dtype), 1)])
    else:
        width = layout_of(DType[dtype]).width
        rng = np.random.default_rng(2)
        base = (rng.standard_normal(600) * 9).astype(f"<i{width}")
        target = base + (rng.random(600) < 0.2).astype(f"<i{width}")
    tail = bytes(range(layout_of(DType[dtype]).width - 1))
    return target.tobytes() + tail, base.tobytes() + tail


def codecs(dtype: str) -> tuple[str, ...]:
    """CTX codes no integers."""
    return CODECS if layout_of(DType[dtype]).exponent else CODECS[:-1]


def mixture(seed: int) -> tuple[bytes, bytes]:
    """F32 target and base of groups that are equal, near, far and without relation."""
    base, near = tensors.pair("F32", 4100, drift=2e-5, seed=seed)
    far = tensors.pair("F32", 4100, drift=1e-2, seed=seed)[1]
    noise = np.frombuffer(np.random.default_rng(seed).bytes(4 * 4100), np.uint32)
    kind = np.arange(4100) // 300 % 4
    return np.choose(kind, [base, near, far, noise]).tobytes(), base.tobytes()


def streamed(target: bytes, base: bytes, name: str, dtype: str = "BF16") -> bytes:
    """A frame of several small blocks."""
    common = min(len(target), len(base)) & ~7
    pair = target[:common], base[:common]
    tables = codec.train([pair], dtype=dtype) if name == "CTX" else b""
    if name == "SPARSE":
        blocks = ((target[at : at + 4096], base[at : at + 4096]) for at in range(0, common, 4096))
        tables = codec.train_sparse(blocks, dtype=dtype, raw_nbytes=1 << 24)
    encoder = codec.FrameEncoder(
        dtype=dtype,
        raw_nbytes=len(target),
        codec=name,
        base_nbytes=len(base),
        block_log2=12,
        tables=tables,
    )
    return joined(encoder, target, base)


def converted(target: bytes, base: bytes, name: str, words: codec.Words) -> bytes:
    """A frame of several small blocks, of a base of another dtype or of narrow words."""
    assert words.base is not None
    lengths = {"raw_nbytes": len(target), "base_nbytes": len(base)}
    encoder = codec.FrameEncoder(
        dtype=words.content.name,
        codec=name,
        base_dtype=words.base.name,
        narrow=words.coded.name if words.is_narrow else None,
        block_log2=12,
        tables=codec.tables_for(target, base, words=words, **lengths) if name == "CTX" else b"",
        **lengths,
    )
    return joined(encoder, target, base)


def conversions() -> dict[str, tuple[bytes, bytes, codec.Words]]:
    """Target, base and dtypes of every cast, with every awkward value on both sides.

    The base ends early, within a word.
    """
    cases = {}
    floats = ("BF16", "F16", "F32")
    for dtype, below in ((a, b) for a in floats for b in floats if a != b):
        words = 3000 if dtype == "F32" else 5000
        target = np.concatenate([tensors.awkward(dtype), tensors.pair(dtype, words, seed=6)[1]])
        base = tensors.pair(below, words - 400, seed=6)[0]
        base = np.concatenate([np.roll(tensors.awkward(below), 1), base]).tobytes() + b"\x3c"
        cases[f"{dtype}-on-{below}"] = (
            target.tobytes() + b"\1",
            base,
            codec.Words.named(dtype, None, below),
        )
    for narrow, below in (("BF16", "BF16"), ("F16", "F32"), ("BF16", "F16")):
        plain = [tensors.pair(narrow, 5000, seed=7)[1], tensors.awkward(narrow)]
        target = naive_casts.cast(np.concatenate(plain), narrow, "F32")
        if narrow == "F16":  # a NaN that signals is not what any cast down gives
            target = target[~np.isnan(target.view(np.float32))]
        base = tensors.pair(below, 4000, seed=7)[0].tobytes()
        cases[f"{narrow}-in-F32-on-{below}"] = (
            target.tobytes(),
            base,
            codec.Words.named("F32", narrow, below),
        )
    return cases


def sparse(dtype: str) -> tuple[bytes, bytes]:
    """Target and base of several small blocks: small words changed more often, by little or by all.

    One block is the base's, one has no relation to it, and the last is beyond its end. Bytes are
    left over.
    """
    width = layout_of(DType[dtype]).width
    count = 6 * 4096 // width
    rng = np.random.default_rng(8)
    if dtype in tensors.FLOATS:
        base = tensors.pair(dtype, count, seed=8)[0]
        special = tensors.awkward(dtype)
        base[50 : 50 + special.size] = special
    else:
        base = (rng.standard_normal(count) * 40).astype(f"<i{width}").view(f"<u{width}")
    magnitudes = base & base.dtype.type((1 << (8 * width - 1)) - 1)
    order = np.argsort(np.argsort(magnitudes)) / count
    changed = rng.random(count) < np.select([order < 0.1, order < 0.3], [0.8, 0.2], 0.004)
    steps = rng.integers(1, 4, count).astype(base.dtype)
    target = np.where(changed, base + np.where(rng.random(count) < 0.5, steps, -steps), base)
    far = rng.random(count) < 0.002
    target[far] = np.frombuffer(rng.bytes(count * width), base.dtype)[far]
    block = 4096 // width
    target[block : 2 * block] = base[block : 2 * block]
    target[2 * block : 3 * block] = np.frombuffer(rng.bytes(4096), base.dtype)
    tail = bytes(range(width - 1))
    return target.astype(base.dtype).tobytes() + tail, base.tobytes()[: 5 * 4096 + 1]


MOVED = ("BF16", "F16", "F32", "BF16-on-F32", "BF16-in-F32-on-F16")


def moved(case: str) -> tuple[bytes, bytes, codec.Words, Factors]:
    """Target and base, of which a product of low rank tells nearly all of the difference.

    Every awkward value is in the base, which ends within a row; the content ends within another.
    """
    dtype, _, below = case.partition("-on-")
    narrow, _, wide = dtype.partition("-in-")
    words = codec.Words.named(wide or narrow, narrow if wide else None, below or dtype)
    rng = np.random.default_rng(12)
    rows, columns, rank = 90, 61, 5
    left = rng.integers(-900, 900, (rows, rank)).astype(np.int16)
    right = rng.integers(-900, 900, (rank, columns)).astype(np.int16)
    left[7], left[8, 0], right[0, 3] = 0, -32768, 32767
    factors = Factors.of(left, right, -29)
    base = tensors.pair(words.base.name, rows * columns - 200, seed=12)[0]
    special = tensors.awkward(words.base.name)
    base[500 : 500 + special.size] = special
    below = naive_casts.cast(base, words.base.name, words.coded.name)
    told = naive_lowrank.shifted(factors, below, words.coded.name)
    target = tensors.pair(words.coded.name, rows * columns - 5, seed=13)[0]
    far = rng.random(told.size) < 0.05
    target[: told.size] = np.where(far, told ^ told.dtype.type(3), told)
    special = tensors.awkward(words.coded.name)
    target[900 : 900 + special.size] = special
    if words.is_narrow:
        target = naive_casts.cast(target, words.coded.name, words.content.name)
    return target.tobytes(), base.tobytes(), words, factors


def over_moved(
    target: bytes, base: bytes, name: str, words: codec.Words, factors: Factors
) -> bytes:
    """A frame of several small blocks, over a base that a product is added to."""
    assert words.base is not None
    below = moved_base(words, factors, np.frombuffer(base, np.uint8), 0).tobytes()
    moved_words = replace(words, base=words.coded)
    tables = b""
    if name == "CTX":
        lengths = {"raw_nbytes": len(target), "base_nbytes": len(below)}
        tables = codec.tables_for(target, below, words=moved_words, **lengths)
    if name == "SPARSE":
        view = np.frombuffer(target, np.uint8), np.frombuffer(below, np.uint8)
        tables = sparse_tables_for(*view, words=moved_words)
    encoder = codec.FrameEncoder(
        dtype=words.content.name,
        raw_nbytes=len(target),
        codec=name,
        base_nbytes=len(base),
        base_dtype=words.base.name,
        narrow=words.coded.name if words.is_narrow else None,
        block_log2=12,
        tables=tables,
        factors=factors,
    )
    return joined(encoder, target, base)


def joined(encoder: codec.FrameEncoder, target: bytes, base: bytes) -> bytes:
    """The frame of an encoder."""
    blocks = [
        encoder.encode_block(
            index, target[slice(*encoder.raw_range(index))], base[slice(*encoder.base_range(index))]
        )
        for index in range(encoder.block_count)
    ]
    return b"".join([encoder.finish(), *blocks])


COARSE = {"BF16": 2, "F16": 4, "F32": 4}
"""What the frequencies of golden frames of busy contexts are multiples of."""


def busy(dtype: str) -> tuple[bytes, bytes]:
    """Target and base whose contexts are used so evenly that their tables are made coarse."""
    octaves = {2: 2, 4: 6}[COARSE[dtype]]
    rng = np.random.default_rng(10)
    values = rng.uniform(1, 2, 6000) * 2.0 ** -rng.integers(0, octaves, 6000)
    base = tensors.floats(values, dtype)
    target = tensors.floats(values + rng.standard_normal(6000) * 0.01, dtype)
    special = tensors.awkward(dtype)
    target[3000 : 3000 + special.size] = special
    return target.tobytes(), base.tobytes()


def heavy() -> tuple[bytes, bytes]:
    """Target and base that moved as far as they are large: thousands of raw bytes."""
    base, target = tensors.pair("BF16", 16_000, drift=0.015, seed=11)
    return target.tobytes(), base.tobytes()


def planes(dtype: str) -> bytes:
    """Words whose upper bytes are mostly alike, among them every awkward one, and bytes left over.

    So rANS is shorter than zstd although there are not many.
    """
    rng = np.random.default_rng(9)
    alike = rng.random(16_001) < 0.93
    values = np.where(alike, rng.uniform(0.016, 0.031, alike.size), rng.standard_normal(alike.size))
    if dtype not in tensors.FLOATS:
        return np.where(alike, 3, values * 40).astype(np.int8).tobytes()
    words = tensors.floats(values, dtype)
    special = tensors.awkward(dtype)
    words[4000 : 4000 + special.size] = special
    return words.tobytes() + bytes(range(words.itemsize - 1))


def write(case: str, files: dict[str, bytes]) -> None:
    folder = FOLDER / case
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        if name in ("target", "base") and path.exists() and path.read_bytes() != data:
            raise SystemExit(f"{path} is another one: frames made now would not fit it")
        if not path.exists():
            path.write_bytes(data)


def main() -> None:
    for dtype in DType.__members__:
        target, base = content(dtype)
        frames = {
            f"{name.lower()}.frame": codec.encode(target, dtype=dtype, base=base, codec=name)
            for name in codecs(dtype)
        }
        write(dtype, {"target": target, "base": base} | frames)
    write("empty", {"target": b"", "base": b"", "raw.frame": codec.encode(b"", dtype="U8")})
    base, target = tensors.pair("BF16", 5000, seed=3)
    noise = np.random.default_rng(4).bytes(4096)
    long, short = target.tobytes() + noise + bytes(77), base.tobytes()[:7001]
    write(
        "blocks",
        {"target": long, "base": short}
        | {f"{name.lower()}.frame": streamed(long, short, name) for name in CODECS},
    )
    target, base = mixture(seed=5)
    frame = streamed(target, base, "CTX", "F32")
    write("mixture", {"target": target, "base": base, "ctx.frame": frame})
    for dtype in SPARSE_DTYPES:
        target, base = sparse(dtype)
        frame = streamed(target, base, "SPARSE", dtype)
        write(f"sparse-{dtype}", {"target": target, "base": base, "sparse.frame": frame})
    for dtype in PLANE_DTYPES:
        target = planes(dtype)
        frame = codec.encode(target, dtype=dtype, codec="PLANE")
        write(f"planes-{dtype}", {"target": target, "base": b"", "plane.frame": frame})
    for dtype in COARSE:
        target, base = busy(dtype)
        frame = codec.encode(target, dtype=dtype, base=base, codec="CTX")
        write(f"busy-{dtype}", {"target": target, "base": base, "ctx.frame": frame})
    signs = {dtype: content(dtype) for dtype in SIGN_DTYPES}
    signs |= {"busy-BF16": busy("BF16"), "heavy-BF16": heavy()}
    for case, (target, base) in signs.items():
        dtype = case.rpartition("-")[2]
        frame = codec.encode(target, dtype=dtype, base=base, codec="CTX")
        write(f"signs-{case}", {"target": target, "base": base, "ctx.frame": frame})
    for case, (target, base, words) in conversions().items():
        frames = {
            f"{name.lower()}.frame": converted(target, base, name, words)
            for name in ("RAW", "PLANE", "BITX", "CTX")
            if name in ("BITX", "CTX") or words.is_narrow
        }
        write(case, {"target": target, "base": base} | frames)
    for case in MOVED:
        target, base, words, factors = moved(case)
        frames = {
            f"{name.lower()}.frame": over_moved(target, base, name, words, factors)
            for name in ("BITX", "CTX", "SPARSE")
        }
        write(f"moved-{case}", {"target": target, "base": base} | frames)


if __name__ == "__main__":
    main()
