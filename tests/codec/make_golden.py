"""Writes the golden frames of a format version, once: files that exist are never overwritten.

    python -m tests.codec.make_golden

Each case is a folder with ``target``, ``base`` and a frame per codec. Frames are what this version
wrote on that day; later encoders may write others, later decoders must read these.
"""

from pathlib import Path

import numpy as np

import codec
from codec.dtypes import DType, layout_of
from tests.codec import tensors

FOLDER = Path(__file__).parent / "golden" / f"v{codec.frame.VERSION}"
CODECS = ("RAW", "ZSTD", "PLANE", "BITX", "CTX")


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
    common = min(len(target), len(base)) & ~3
    pair = target[:common], base[:common]
    encoder = codec.FrameEncoder(
        dtype=dtype,
        raw_nbytes=len(target),
        codec=name,
        base_nbytes=len(base),
        block_log2=12,
        tables=codec.train([pair], dtype=dtype) if name == "CTX" else b"",
    )
    blocks = [
        encoder.encode_block(
            index, target[slice(*encoder.raw_range(index))], base[slice(*encoder.base_range(index))]
        )
        for index in range(encoder.block_count)
    ]
    return b"".join([encoder.finish(), *blocks])


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


if __name__ == "__main__":
    main()
