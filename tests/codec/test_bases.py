"""Bases that are not of the content's length or dtype, and contents that are too wide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.frames.head import head_nbytes
from tests.codec import tensors
from tests.codec.elements import naive as naive_casts

CAST = ("BF16", "F16", "F32")
PAIRS = [(a, b) for a in CAST for b in CAST if a != b]


@pytest.mark.parametrize(("dtype", "below"), PAIRS)
@given(
    target=st.binary(max_size=2000),
    base=st.binary(max_size=2000),
    name=st.sampled_from(["auto", "BITX", "CTX"]),
)
@settings(max_examples=60)
def test_any_bytes_come_back_over_a_base_of_another_dtype(dtype, below, target, base, name):
    frame = codec.encode(target, dtype=dtype, base=base, base_dtype=below, codec=name)
    assert codec.decode(frame, base=base).tobytes() == target
    tables_nbytes = int.from_bytes(frame[28:32], "little")
    assert len(frame) <= head_nbytes(len(target)) + len(target) + tables_nbytes


@pytest.mark.parametrize(("dtype", "below"), PAIRS)
def test_a_delta_over_a_cast_base_is_that_over_the_base_cast_before(dtype, below):
    target = tensors.pair(dtype, 700_001)[1]
    base = tensors.pair(below, 700_001)[0]
    cast = tensors.floats(tensors.values(base, below), dtype)
    frame = codec.encode(target, dtype=dtype, base=base, base_dtype=below, codec="CTX", threads=2)
    expected = codec.encode(target, dtype=dtype, base=cast, codec="CTX")
    assert len(frame) == len(expected)
    info = codec.inspect(frame)
    assert (info.base_dtype, info.narrow, info.base_nbytes) == (below, None, base.nbytes)
    assert codec.decode(frame, base=base, threads=2).tobytes() == target.tobytes()
    assert len(frame) < 0.8 * len(codec.encode(target, dtype=dtype))


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_the_fp32_twin_of_its_base_costs_next_to_nothing(dtype):
    base = tensors.pair(dtype, 600_000)[0]
    twin = tensors.floats(tensors.values(base, dtype), "F32")
    up = codec.encode(twin, dtype="F32", base=base, base_dtype=dtype)
    assert codec.decode(up, base=base).tobytes() == twin.tobytes()
    down = codec.encode(base, dtype=dtype, base=twin, base_dtype="F32")
    assert codec.decode(down, base=twin).tobytes() == base.tobytes()
    assert max(len(up), len(down)) < 500
    assert codec.inspect(up).narrow == dtype


@pytest.mark.parametrize("narrow", ["BF16", "F16"])
@pytest.mark.parametrize("below", CAST)
def test_a_narrow_fine_tune_costs_what_it_does_in_its_own_dtype(narrow, below):
    base, target = tensors.pair(narrow, 600_000)
    wide = tensors.floats(tensors.values(target, narrow), "F32")
    under = tensors.floats(tensors.values(base, narrow), below)
    frame = codec.encode(wide, dtype="F32", base=under, base_dtype=below)
    assert codec.decode(frame, base=under).tobytes() == wide.tobytes()
    own = codec.encode(target, dtype=narrow, base=under, base_dtype=below)
    assert len(frame) == pytest.approx(len(own), rel=0.005)
    assert (
        codec.decode_range(frame, 1_000_001, 1_200_003, base=under)
        == wide.tobytes()[1_000_001:1_200_003]
    )


@given(words=st.lists(st.integers(0, (1 << 16) - 1), min_size=1, max_size=700))
@settings(max_examples=100)
def test_any_words_that_were_cast_up_come_back(words):
    wide = naive_casts.cast(np.array(words, np.uint16), "BF16", "F32")
    frame = codec.encode(wide, dtype="F32")
    assert codec.inspect(frame).narrow == "BF16"
    assert len(frame) <= head_nbytes(wide.nbytes) + wide.nbytes // 2
    assert codec.decode(frame).tobytes() == wide.tobytes()


def test_a_block_that_is_not_narrow_is_refused_by_a_narrow_encoder():
    encoder = codec.FrameEncoder(dtype="F32", raw_nbytes=8, codec="PLANE", narrow="BF16")
    with pytest.raises(ValueError, match="BF16"):
        encoder.encode_block(0, bytes([1, 0, 0, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"dtype": "BF16", "base_dtype": "U16"},
        {"dtype": "F64", "base_dtype": "F32"},
        {"dtype": "F8_E5M2", "base_dtype": "F16"},
        {"dtype": "F32", "base_dtype": "F31"},
        {"dtype": "F16", "narrow": "BF16"},
        {"dtype": "F32", "narrow": "F64"},
        {"dtype": "F32", "narrow": "BF16", "raw_nbytes": 15},
    ],
)
def test_dtypes_that_do_not_go_together_are_refused(arguments):
    with pytest.raises(ValueError):
        codec.FrameEncoder(**{"raw_nbytes": 16, "codec": "BITX"} | arguments)


@pytest.mark.parametrize("name", ["BITX", "CTX"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_the_block_in_which_the_base_ends_loses_next_to_nothing(name, share):
    """Beside what both parts of it take as tensors of their own."""
    base, target = tensors.pair("BF16", 1 << 19)
    cut = round(share * (1 << 20)) & ~511
    raw, below = target.tobytes(), base.tobytes()[:cut]
    frame = codec.encode(raw, dtype="BF16", base=below, codec=name)
    apart = len(codec.encode(raw[:cut], dtype="BF16", base=below, codec=name))
    apart += len(codec.encode(raw[cut:], dtype="BF16"))
    assert codec.decode(frame, base=below).tobytes() == raw
    assert len(frame) < (1.015 if name == "BITX" else 1.005) * apart


@pytest.mark.parametrize("rows", [-900, -1, 1, 900])
def test_rows_added_or_dropped_at_the_end_leave_a_delta(rows):
    base, target = tensors.pair("BF16", 4000 * 384)
    more = tensors.pair("BF16", 900 * 384, seed=3)[0]
    changed = target[: rows * 384] if rows < 0 else np.concatenate([target, more[: rows * 384]])
    frame = codec.encode(changed, dtype="BF16", base=base)
    assert codec.decode(frame, base=base).tobytes() == changed.tobytes()
    shared = codec.encode(changed[: target.size], dtype="BF16", base=base[: changed.size])
    alone = codec.encode(changed[target.size :], dtype="BF16")
    assert len(frame) < 1.01 * (len(shared) + len(alone))


def long_frame(nbytes: int, base_nbytes: int, words: codec.Words) -> tuple[bytes, bytes, bytes]:
    """A frame of so many bytes, all blocks alike, that only its index is long; a block and base."""
    assert words.base is not None
    raw = 1 << 20
    target = tensors.pair(words.content.name, raw // 4)[1].tobytes()
    base = tensors.pair(words.base.name, raw // 4)[0].tobytes()
    lengths = {"raw_nbytes": raw, "base_nbytes": len(base)}
    encoder = codec.FrameEncoder(
        dtype=words.content.name,
        raw_nbytes=nbytes,
        base_nbytes=base_nbytes,
        base_dtype=words.base.name,
        codec="CTX",
        tables=codec.tables_for(target, base, words=words, **lengths),
    )
    stored = encoder.encode_block(0, target, base)
    head = encoder.finish([encoder.block_info(0)] * encoder.block_count)
    return head + stored, target, base


def test_a_range_of_a_gigabyte_touches_two_blocks_of_frame_and_base():
    words = codec.Words.named("F32", None, "BF16")
    frame, target, base = long_frame(1 << 30, 1 << 29, words)
    head = codec.FrameHead.parse(frame)
    block = frame[head.head_nbytes :]
    stored, below = [], []

    def read_frame(start, stop):
        stored.append((start, stop))
        if stop <= head.head_nbytes:
            return frame[start:stop]
        assert (start - head.head_nbytes) % len(block) == 0
        return block * ((stop - start) // len(block))

    def read_base(start, stop):
        below.append((start, stop))
        return base

    start = (777 << 20) - 1000
    part = codec.decode_range(read_frame, start, start + 65536, base=read_base)
    assert part == target[-1000:] + target[: 65536 - 1000]
    assert stored[:2] == [(0, codec.FIXED_NBYTES), (0, head.head_nbytes)]
    assert stored[2:] == [(head.block_range(776)[0], head.block_range(777)[1])]
    assert below == [(776 << 19, 777 << 19), (777 << 19, 778 << 19)]


@pytest.mark.parametrize("dtype", CAST)
@pytest.mark.parametrize("below", CAST)
@pytest.mark.parametrize("drift", [3e-5, 1e-3])
def test_predictions_hold_over_bases_of_any_dtype(dtype, below, drift):
    base = tensors.pair(below, 600_000, drift=drift)[0]
    target = tensors.pair(dtype, 600_000, drift=drift)[1]
    kinds = {"dtype": dtype, "base": base, "base_dtype": below}
    real = len(codec.encode(target, **kinds))
    assert codec.predict(target, **kinds).nbytes == pytest.approx(real, rel=0.02)
    sketched = codec.predict_from_sketches(
        codec.sketch(target, dtype=dtype), codec.sketch(base, dtype=below)
    )
    assert sketched.nbytes == pytest.approx(real, rel=0.08)


def test_sketches_of_twins_are_near_and_those_of_strangers_are_not():
    base = tensors.pair("BF16", 50_000)[0]
    mine = codec.sketch(base, dtype="BF16")
    twin = codec.sketch(tensors.floats(tensors.values(base, "BF16"), "F32"), dtype="F32")
    stranger = codec.sketch(tensors.pair("F32", 50_000, seed=9)[0], dtype="F32")
    assert codec.sketch_distance(mine, twin) == codec.sketch_distance(twin, mine) == 0.0
    assert codec.sketch_distance(mine, stranger) > 2
    assert codec.cast_sketch(twin, "BF16") == mine
    assert codec.cast_sketch(mine, "F32") == twin
    with pytest.raises(ValueError, match="not cast"):
        codec.cast_sketch(mine, "U16")
    other = codec.sketch(base[:-1], dtype="BF16")
    assert codec.sketch_distance(other, twin) == float("inf")
