"""Frames of every codec and dtype, and ways to damage them, also under checks that are true."""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import xxhash
import zstandard

import codec
from bench.synthetic import to_bf16
from codec.frames.head import DECODABLE, FIXED_NBYTES, NEEDS_BASE, Method

ENTRY_NBYTES = 24
SMALL_BLOCK_LOG2 = 12
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FIELDS = {"<B": (4, 5, 6, 7, 24, 25, 26, 27), "<I": (28, 32), "<Q": (8, 16)}
"""Where the fixed part of a head has fields of one, four and eight bytes."""
DTYPES = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "U8", "I16", "U32", "I64", "C64")


@dataclass(frozen=True)
class Specimen:
    """A sound frame with the base it needs and the bytes it decodes to."""

    name: str
    frame: bytes
    base: bytes | None
    raw: bytes


@dataclass(frozen=True)
class Mutant:
    """What a decoder is given. ``is_sealed`` says that checks were made true again."""

    frame: bytes
    base: bytes | None
    is_sealed: bool


MOVING = ("BF16", "F16", "F32")
COLUMNS = 40
"""Of the matrices whose bases move."""

Mutation = Callable[[random.Random, Specimen, list[Specimen]], Mutant]


def specimens() -> list[Specimen]:
    """Tiny frames of every codec, dtype and shape of content that the codec can make."""
    found: dict[bytes, Specimen] = {}
    with small_blocks():
        for case in _cases():
            for method in sorted(DECODABLE):
                for specimen in (*_encoded(method, *case), *_moved(method, *case)):
                    found.setdefault(specimen.frame, specimen)
    return list(found.values())


@contextmanager
def small_blocks() -> Iterator[None]:
    """Encoders write blocks of 4 KiB meanwhile, so that tiny frames have several."""
    defaults = codec.FrameEncoder.__init__.__kwdefaults__
    before = defaults["block_log2"]
    defaults["block_log2"] = SMALL_BLOCK_LOG2
    try:
        yield
    finally:
        defaults["block_log2"] = before


def _cases() -> Iterator[tuple[str, str, bytes, bytes, str]]:
    """Name, dtype, target, base and dtype of the base."""
    chance = np.random.default_rng(7)
    for dtype in DTYPES:
        for count, drift, extra in ((700, 1e-3, 3), (2600, 1e-4, 0), (40, 1e-2, 1)):
            weights = chance.standard_normal(count) * 0.02
            moved = weights + chance.standard_normal(count) * drift
            target, base = _words(moved, dtype), _words(weights, dtype)
            tail = chance.bytes(extra)
            yield f"{dtype} {count}", dtype, target + tail, base + tail, dtype
        few = weights = chance.standard_normal(2600) * 0.02
        few = np.where(chance.random(2600) < 0.01, weights * 1.1, weights)
        yield f"{dtype} few", dtype, _words(few, dtype), _words(weights, dtype), dtype
        rows = _words(weights, dtype)
        yield f"{dtype} longer", dtype, rows, rows[: len(rows) // 3], dtype
        yield f"{dtype} equal", dtype, rows, rows, dtype
    for dtype, base_dtype in (("F32", "BF16"), ("BF16", "F32"), ("F16", "F32")):
        weights = chance.standard_normal(1500) * 0.02
        moved = weights + chance.standard_normal(1500) * 1e-3
        target, base = _words(moved, dtype), _words(weights, base_dtype)
        yield f"{dtype} of {base_dtype}", dtype, target, base, base_dtype
    exact = (to_bf16(weights.astype(np.float32)).astype(np.uint32) << 16).tobytes()
    yield "F32 of BF16 values", "F32", exact, exact[:4000], "F32"
    yield "constant", "BF16", bytes(9000), bytes(9000), "BF16"
    yield "empty", "BF16", b"", b"", "BF16"
    text = b"a frame holds any bytes; " * 300
    yield "text", "U8", text, text[:100], "U8"


def _words(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return to_bf16(values.astype(np.float32)).tobytes()
    kinds = {"F16": "f2", "F32": "f4", "F64": "f8", "C64": "f4"}
    if dtype in kinds:
        return values.astype(kinds[dtype]).tobytes()
    if dtype.startswith("F8"):  # the upper byte of a half has the same sort of fields
        return values.astype("f2").view("u1")[1::2].tobytes()
    scaled = np.round(values * 3000).astype("i8")
    return scaled.astype(f"i{int(dtype[1:]) // 8}").tobytes()


def _encoded(
    method: Method, name: str, dtype: str, target: bytes, base: bytes, base_dtype: str
) -> Iterator[Specimen]:
    needs_base = method in NEEDS_BASE
    options = {"base": base} if needs_base else {}
    if needs_base and base_dtype != dtype:
        options["base_dtype"] = base_dtype
    try:
        frame = codec.encode(target, dtype=dtype, codec=method.name, **options)
    except ValueError:  # this codec does not take this dtype
        return
    if codec.decode(frame, base=base if needs_base else None) != target:
        raise SystemExit(f"{method.name} of {name} does not come back")
    yield Specimen(f"{method.name} {name}", frame, base if needs_base else None, target)


def _moved(
    method: Method, name: str, dtype: str, target: bytes, base: bytes, base_dtype: str
) -> Iterator[Specimen]:
    """The same over a base that a product of rank 3 has moved, where that can be."""
    if method not in NEEDS_BASE or method.label != method.name or dtype not in MOVING:
        return
    elements = len(target) // (4 if dtype == "F32" else 2)
    rows = -(-elements // COLUMNS)
    if 3 * (rows + COLUMNS) > elements:
        return
    chance = np.random.default_rng(rows)
    left, right = chance.integers(-300, 300, (rows, 3)), chance.integers(-300, 300, (3, COLUMNS))
    factors = codec.Factors.of(left.astype(np.int16), right.astype(np.int16), -27)
    options = {"codec": method.name, "base_dtype": base_dtype, "factors": factors}
    frame = codec.encode(target, dtype=dtype, base=base, **options)
    if codec.decode(frame, base=base) != target:
        raise SystemExit(f"{method.name} of {name} over a base that moves does not come back")
    yield Specimen(f"{method.name} {name} moved", frame, base, target)


def sealed(frame: bytearray) -> bytes:
    """The same with true checks of head and blocks, as far as its own lengths make sense."""
    if len(frame) < FIXED_NBYTES:
        return bytes(frame)
    frame[36:40] = struct.pack("<I", xxhash.xxh3_64_intdigest(bytes(frame[:36])) & 0xFFFFFFFF)
    tables_nbytes, count = struct.unpack_from("<2I", frame, 28)
    first = FIXED_NBYTES + tables_nbytes
    end = first + ENTRY_NBYTES * count
    if end + 8 > len(frame):
        return bytes(frame)
    at = end + 8
    for entry in range(first, end, ENTRY_NBYTES):
        (stored,) = struct.unpack_from("<I", frame, entry)
        check = xxhash.xxh3_64_intdigest(bytes(frame[at : at + stored]))
        struct.pack_into("<Q", frame, entry + 8, check)
        at += stored
    frame[end : end + 8] = xxhash.xxh3_64_digest(bytes(frame[:end]))[::-1]
    return bytes(frame)


def flip_bits(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    frame = bytearray(one.frame)
    for _ in range(chance.randint(1, 4)):
        frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
    return Mutant(bytes(frame), one.base, is_sealed=False)


def cut(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    if chance.random() < 0.2:
        return Mutant(one.frame + chance.randbytes(chance.randint(1, 40)), one.base, False)
    return Mutant(one.frame[: chance.randrange(len(one.frame))], one.base, is_sealed=False)


def splice(chance: random.Random, one: Specimen, every: list[Specimen]) -> Mutant:
    """A run of another frame over or into this one, under true checks half of the time."""
    other = chance.choice(every).frame
    start, length = chance.randrange(len(other)), chance.randint(1, 200)
    at = chance.randrange(len(one.frame))
    run = other[start : start + length]
    over = len(run) if chance.random() < 0.7 else 0
    frame = bytearray(one.frame[:at] + run + one.frame[at + over :])
    if chance.random() < 0.5:
        return Mutant(bytes(frame), one.base, is_sealed=False)
    return Mutant(sealed(frame), one.base, is_sealed=True)


def edit_fields(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    """Fields of the fixed part, under true checks."""
    frame = bytearray(one.frame)
    for _ in range(chance.randint(1, 2)):
        layout = chance.choice(list(FIELDS))
        offset = chance.choice(FIELDS[layout])
        (value,) = struct.unpack_from(layout, frame, offset)
        bits = 8 * struct.calcsize(layout)
        struct.pack_into(layout, frame, offset, _near(chance, value, bits))
    return Mutant(sealed(frame), one.base, is_sealed=True)


def edit_index(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    """Stored lengths and methods of blocks, under true checks."""
    frame = bytearray(one.frame)
    first, count = _index_of(frame)
    if not count:
        return flip_bits(chance, one, _all)
    entry = first + ENTRY_NBYTES * chance.randrange(count)
    if chance.random() < 0.5:
        frame[entry + 4] = chance.choice((*range(8), 255))
    else:
        (stored,) = struct.unpack_from("<I", frame, entry)
        struct.pack_into("<I", frame, entry, _near(chance, stored, 32))
    return Mutant(sealed(frame), one.base, is_sealed=True)


def edit_tables(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    """Bytes of the tables, inside their compression too, under true checks."""
    tables_nbytes = struct.unpack_from("<I", one.frame, 28)[0]
    if not tables_nbytes:
        return edit_blocks(chance, one, _all)
    end = FIXED_NBYTES + tables_nbytes
    tables = _edited_inside(chance, one.frame[FIXED_NBYTES:end])
    frame = bytearray(one.frame[:FIXED_NBYTES] + tables + one.frame[end:])
    struct.pack_into("<I", frame, 28, len(tables))
    return Mutant(sealed(frame), one.base, is_sealed=True)


def edit_blocks(chance: random.Random, one: Specimen, _all: list[Specimen]) -> Mutant:
    """Stored bytes of a block, their number too, under true checks and a true index."""
    frame = bytearray(one.frame)
    first, count = _index_of(frame)
    if not count:
        return flip_bits(chance, one, _all)
    which = chance.randrange(count)
    lengths = [struct.unpack_from("<I", frame, first + ENTRY_NBYTES * k)[0] for k in range(count)]
    start = first + ENTRY_NBYTES * count + 8 + sum(lengths[:which])
    stored = bytes(frame[start : start + lengths[which]])
    kind = chance.random()
    if kind < 0.5:
        changed = _edited(chance, stored, front=chance.random() < 0.6)
    elif kind < 0.7:
        at, length = chance.randrange(len(stored) + 1), chance.randint(1, 9)
        longer = chance.random() < 0.5
        middle = chance.randbytes(length) if longer else b""
        changed = stored[:at] + middle + stored[at + (0 if longer else length) :]
    else:
        changed = _edited_inside(chance, stored)
    struct.pack_into("<I", frame, first + ENTRY_NBYTES * which, len(changed))
    frame[start : start + len(stored)] = changed
    return Mutant(sealed(frame), one.base, is_sealed=True)


def change_base(chance: random.Random, one: Specimen, every: list[Specimen]) -> Mutant:
    """Another base: random, of another length, with some bits flipped, or none."""
    if one.base is None:
        return Mutant(one.frame, chance.randbytes(chance.randint(0, 99)), is_sealed=False)
    base = bytearray(one.base)
    kind = chance.randrange(5)
    if kind == 0:
        return Mutant(one.frame, None, is_sealed=True)
    if kind == 1:
        base = bytearray(chance.randbytes(len(base)))
    elif kind == 2:
        base = base[: chance.randint(0, len(base))]
    elif kind == 3:
        base += chance.randbytes(chance.randint(1, 9))
    elif base:
        for _ in range(chance.randint(1, 9)):
            base[chance.randrange(len(base))] ^= 1 << chance.randrange(8)
    return Mutant(one.frame, bytes(base), is_sealed=True)


MUTATIONS: dict[str, tuple[Mutation, int]] = {
    "bits flipped": (flip_bits, 2),
    "cut or extended": (cut, 1),
    "spliced": (splice, 2),
    "fields edited, sealed": (edit_fields, 3),
    "index edited, sealed": (edit_index, 2),
    "tables edited, sealed": (edit_tables, 4),
    "blocks edited, sealed": (edit_blocks, 6),
    "another base": (change_base, 2),
}
"""Name -> mutation and its weight among all."""


def _index_of(frame: bytes | bytearray) -> tuple[int, int]:
    tables_nbytes, count = struct.unpack_from("<2I", frame, 28)
    return FIXED_NBYTES + tables_nbytes, count


def _near(chance: random.Random, value: int, bits: int) -> int:
    """A number that is close to another, or at an edge of what fits."""
    limit = (1 << bits) - 1
    edges = (0, 1, limit, limit >> 1, value ^ 1, value * 2, 1 << chance.randrange(bits))
    near = (value + 1, value - 1, value + chance.randint(-300, 300), chance.randint(0, limit))
    return chance.choice(edges + near) & limit


def _edited(chance: random.Random, content: bytes, *, front: bool = False) -> bytes:
    """Some bytes replaced; with ``front`` near the start, where headers are."""
    if not content:
        return chance.randbytes(3)
    changed = bytearray(content)
    reach = min(len(changed), 64) if front else len(changed)
    for _ in range(chance.randint(1, 6)):
        changed[chance.randrange(reach)] = chance.choice((0, 1, 127, 255, chance.randrange(256)))
    return bytes(changed)


def _edited_inside(chance: random.Random, content: bytes) -> bytes:
    """As :func:`_edited`, but within a zstd frame in it, which is sound again afterwards."""
    start = content.find(ZSTD_MAGIC)
    if start < 0 or chance.random() < 0.3:
        return _edited(chance, content)
    reader = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain = reader.decompress(content[start:])
    except zstandard.ZstdError:
        return _edited(chance, content)
    plain = _edited(chance, plain, front=chance.random() < 0.5)
    if chance.random() < 0.2:
        plain += chance.randbytes(chance.randint(1, 5))
    packed = zstandard.ZstdCompressor(level=9, write_checksum=False).compress(plain)
    return content[:start] + packed + reader.unused_data
