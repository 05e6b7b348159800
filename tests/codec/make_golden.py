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
CODECS = ("RAW", "ZSTD", "PLANE", "BITX")


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


def streamed(target: bytes, base: bytes, name: str) -> bytes:
    """A frame of several small blocks."""
    encoder = codec.FrameEncoder(
        dtype="BF16", raw_nbytes=len(target), codec=name, base_nbytes=len(base), block_log2=12
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
    if folder.exists():
        raise SystemExit(f"{folder} exists: golden frames are never written again")
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def main() -> None:
    for dtype in DType.__members__:
        target, base = content(dtype)
        frames = {
            f"{name.lower()}.frame": codec.encode(target, dtype=dtype, base=base, codec=name)
            for name in CODECS
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


if __name__ == "__main__":
    main()
