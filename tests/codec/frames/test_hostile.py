"""Damaged, truncated, crafted and mismatched frames: told apart, and never believed."""

import struct
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.frames.head import FIXED_NBYTES
from codec.limits import MAX_BLOCKS
from tests.codec import tensors

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
CASES = [
    (path.read_bytes(), (path.parent / "target").read_bytes(), (path.parent / "base").read_bytes())
    for case in (
        "BF16",
        "F32",
        "I64",
        "F8_E4M3",
        "F32-on-F16",
        "F16-in-F32-on-F32",
        "blocks",
        "mixture",
        "sparse-BF16",
        "sparse-I64",
        "moved-BF16",
        "moved-BF16-in-F32-on-F16",
    )
    for path in sorted((GOLDEN / case).glob("*.frame"))
]


def reseal(frame: bytearray) -> bytes:
    """Make the checks of a head true again, so that what they guard is looked at."""
    frame[36:40] = (xxhash.xxh3_64_intdigest(bytes(frame[:36])) & 0xFFFFFFFF).to_bytes(4, "little")
    (tables_nbytes, count) = struct.unpack_from("<2I", frame, 28)
    end = FIXED_NBYTES + tables_nbytes + 24 * count
    if end + 8 <= len(frame):
        frame[end : end + 8] = xxhash.xxh3_64_intdigest(bytes(frame[:end])).to_bytes(8, "little")
    return bytes(frame)


def with_field(frame: bytes, layout: str, offset: int, value: int) -> bytes:
    altered = bytearray(frame)
    struct.pack_into(layout, altered, offset, value)
    return reseal(altered)


@pytest.mark.parametrize(("frame", "target", "base"), CASES)
def test_every_truncation_is_refused(frame, target, base):
    for end in range(0, len(frame), 1 if len(frame) < 2000 else 7):
        with pytest.raises(codec.CorruptFrame):
            codec.decode(frame[:end], base=base)
    with pytest.raises(codec.CorruptFrame):
        codec.decode(frame + b"\0", base=base)


@pytest.mark.parametrize(("frame", "target", "base"), CASES)
def test_a_flipped_bit_anywhere_is_found_or_without_effect(frame, target, base):
    rng = np.random.default_rng(len(frame))
    for position in range(0, len(frame), 1 if len(frame) < 2000 else 5):
        altered = bytearray(frame)
        altered[position] ^= 1 << rng.integers(8)
        try:
            assert codec.decode(altered, base=base).tobytes() == target
        except codec.CorruptFrame:
            continue


@given(data=st.data())
@settings(max_examples=3000)
def test_mutations_under_true_checksums_raise_nothing_else(data):
    frame, _, base = data.draw(st.sampled_from(CASES))
    altered = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(frame), 220) - 1))
        altered[position] = data.draw(st.integers(0, 255))
    try:
        codec.decode(reseal(altered), base=base)
    except codec.CodecError:
        return


TABLED_CASES = [
    (path.read_bytes(), (path.parent / "base").read_bytes())
    for pattern in ("*/ctx.frame", "sparse-*/sparse.frame", "planes-*/plane.frame")
    for path in sorted(GOLDEN.glob(pattern))
]


@given(data=st.data())
@settings(max_examples=3000)
def test_mutated_tables_and_streams_under_true_checksums_raise_nothing_else(data):
    frame, base = data.draw(st.sampled_from(TABLED_CASES))
    altered = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(FIXED_NBYTES, len(frame) - 1))
        altered[position] = data.draw(st.integers(0, 255))
    try:
        codec.decode(reseal(altered), base=base)
    except codec.CodecError:
        return


@given(frame=st.binary(max_size=300))
def test_arbitrary_bytes_are_no_frame(frame):
    for junk in (frame, b"CLDF\x01" + frame):
        with pytest.raises(codec.CorruptFrame):
            codec.decode(junk)
        with pytest.raises(codec.CorruptFrame):
            codec.inspect(junk)


FRAME = (GOLDEN / "BF16" / "bitx.frame").read_bytes()
BASE = (GOLDEN / "BF16" / "base").read_bytes()
CRAFTED = {
    "magic": ("<I", 0, 0),
    "unknown dtype": ("<B", 6, 200),
    "unknown flag": ("<B", 7, 5),
    "a base that moves without factors": ("<B", 7, 3),
    "base flag missing": ("<B", 7, 0),
    "raw length beyond the limit": ("<Q", 8, (1 << 40) + 1),
    "raw length of other blocks": ("<Q", 8, 1 << 30),
    "raw length of the largest integer": ("<Q", 8, (1 << 64) - 1),
    "base length beyond the limit": ("<Q", 16, 1 << 63),
    "tiny blocks": ("<B", 24, 3),
    "huge blocks": ("<B", 24, 63),
    "a narrow dtype of words that are not F32": ("<B", 26, 16),
    "a base dtype that is not cast": ("<B", 25, 19),
    "a base of no dtype": ("<B", 25, 0),
    "reserved byte": ("<B", 27, 1),
    "tables without use": ("<I", 28, 8),
    "more blocks": ("<I", 32, MAX_BLOCKS),
    "stored length too long": ("<I", 40, 1 << 31),
    "stored length of a raw block": ("<I", 40, 1229),
    "unknown method": ("<B", 44, 77),
    "reserved method": ("<B", 44, 4),
    "reserved bytes of the index": ("<B", 45, 1),
    "unknown stream coding": ("<B", 72, 9),
    "stream too long": ("<I", 73, (1 << 32) - 1),
    "stream too short": ("<I", 73, 3),
    "constant stream of many bytes": ("<B", 72, 1),
    "raw stream of few bytes": ("<B", 72, 0),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_heads_and_blocks_are_refused(name):
    with pytest.raises(codec.CorruptFrame):
        codec.decode(with_field(FRAME, *CRAFTED[name]), base=BASE)


MOVED = (GOLDEN / "moved-BF16" / "ctx.frame").read_bytes()
MOVED_BASE = (GOLDEN / "moved-BF16" / "base").read_bytes()


@pytest.mark.parametrize(
    ("layout", "offset", "value"),
    [
        ("<B", 7, 2),
        ("<B", 6, 4),
        ("<I", 40, 91),
        ("<I", 44, 0),
        ("<I", 44, 1 << 31),
        ("<H", 48, 0),
        ("<H", 48, 129),
        ("<H", 48, 90),
        ("<h", 50, 97),
        ("<h", 50, -127),
        ("<I", 52, 1 << 31),
        ("<I", 52, 4),
    ],
)
def test_crafted_factors_are_refused(layout, offset, value):
    with pytest.raises(codec.CodecError):
        codec.decode(with_field(MOVED, layout, offset, value), base=MOVED_BASE)


def test_factors_of_a_content_that_is_only_claimed_take_no_memory():
    """A head of some bytes may claim a terabyte; numbers are made when a block is decoded."""
    for raw_nbytes in (1 << 30, 1 << 38):
        altered = with_field(MOVED, "<Q", 8, raw_nbytes)
        with pytest.raises(codec.CorruptFrame):
            codec.decode(altered, base=MOVED_BASE)


NARROW = GOLDEN / "BF16-in-F32-on-F16"


@pytest.mark.parametrize(
    ("layout", "offset", "value"),
    [("<Q", 8, 20057), ("<B", 26, 18), ("<I", 40, 4096), ("<B", 6, 6), ("<B", 26, 16)],
)
def test_crafted_heads_of_narrow_contents_are_refused(layout, offset, value):
    base = (NARROW / "base").read_bytes()
    for name in ("raw.frame", "ctx.frame"):
        frame = (NARROW / name).read_bytes()
        with pytest.raises(codec.CodecError):
            codec.decode(with_field(frame, layout, offset, value), base=base)


@pytest.mark.parametrize("below", ["BF16", "F16"])
def test_another_base_dtype_is_a_mismatch(below):
    base, target = tensors.pair("BF16", 2000)
    frame = codec.encode(target, dtype="BF16", base=base, codec="CTX")
    altered = with_field(frame, "<B", 25, codec.Words.named(below).content)
    if below == "BF16":
        assert codec.decode(altered, base=base).tobytes() == target.tobytes()
        return
    with pytest.raises(codec.BaseMismatch):
        codec.decode(altered, base=base)


def test_context_frames_of_integers_are_refused():
    for case in ("BF16", "F32"):
        frame = (GOLDEN / case / "ctx.frame").read_bytes()
        altered = bytearray(frame)
        altered[6] = altered[25] = {"BF16": 5, "F32": 6}[case]
        with pytest.raises(codec.CorruptFrame, match="does not code"):
            codec.decode(reseal(altered), base=bytes(1229))


@pytest.mark.parametrize(
    ("offset", "value"), [(4, 2), (5, 7), (5, 250), (25, 24), (26, 16), (26, 250)]
)
def test_later_versions_and_codecs_are_told_from_damage(offset, value):
    with pytest.raises(codec.UnsupportedFrame):
        codec.decode(with_field(FRAME, "<B", offset, value), base=BASE)


def test_a_zstd_stream_that_announces_more_than_it_may_hold_is_not_decoded():
    frame = (GOLDEN / "U8" / "zstd.frame").read_bytes()
    start = frame.index(b"\x28\xb5\x2f\xfd")
    bomb = bytearray(frame)
    # A frame header with an eight-byte content size of a terabyte.
    bomb[start + 4 : start + 13] = b"\xe0" + (1 << 40).to_bytes(8, "little")
    with pytest.raises(codec.CorruptFrame, match="announces"):
        codec.decode(bytes(bomb))


@pytest.mark.parametrize("name", ["BITX", "CTX", "SPARSE"])
def test_another_base_is_a_mismatch_and_not_damage(name):
    base, target = tensors.pair("BF16", 800_000)
    frame = codec.encode(target, dtype="BF16", base=base, codec=name)
    other = base.copy()
    other[-1] ^= 1
    wrong = (None, other, base[:-1], np.append(base, base[:1]), b"")
    for candidate in wrong:
        with pytest.raises(codec.BaseMismatch):
            codec.decode(frame, base=candidate)
    with pytest.raises(codec.BaseMismatch):
        codec.decode_range(frame, 0, 10, base=lambda start, stop: bytes(stop - start - 1))
    # Only the last block depends on what differs.
    assert codec.decode_range(frame, 0, 10, base=other) == target.tobytes()[:10]


@pytest.mark.parametrize("name", ["BITX", "CTX", "SPARSE"])
def test_damage_is_not_blamed_on_the_base(name):
    base, target = tensors.pair("BF16", 2000)
    frame = bytearray(codec.encode(target, dtype="BF16", base=base, codec=name))
    frame[-1] ^= 1
    with pytest.raises(codec.CorruptFrame):
        codec.decode(frame, base=base)


def test_a_remote_frame_that_ends_early_is_corrupt():
    frame = codec.encode(tensors.pair("BF16", 2000)[0], dtype="BF16")
    for end in (10, 50, len(frame) - 1):
        part = frame[:end]
        with pytest.raises(codec.CorruptFrame):
            codec.decode_range(lambda start, stop, part=part: part[start:stop], 0, 4000)


def test_stored_bytes_of_another_block_are_refused():
    target = tensors.pair("BF16", 1 << 20)[0]
    frame = codec.encode(target, dtype="BF16")
    head = codec.FrameHead.parse(frame)
    with pytest.raises(codec.CorruptFrame):
        codec.decode_block(head, 0, frame[slice(*head.block_range(1))])
