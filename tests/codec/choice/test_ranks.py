"""When a product of low rank is added to a base: where it pays, and nowhere else."""

import numpy as np
import pytest

import codec
from codec.lowrank.spectrum import Glance
from tests.codec import tensors

DTYPES = ("BF16", "F16", "F32")


def merged(dtype: str, rows=512, columns=384, rank=8, scale=0.02, seed=0):
    """A base and what merging a LoRA makes of it, as words."""
    rng = np.random.default_rng(seed)
    base = tensors.floats(rng.standard_normal((rows, columns)) * 0.02, dtype)
    update = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns)) * scale
    values = tensors.values(base, dtype).astype(np.float64) + update * 0.02
    return base, tensors.floats(values.astype(np.float32), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_merged_lora_costs_little_more_than_the_lora(dtype):
    base, target = merged(dtype)
    frame = codec.encode(target, dtype=dtype, base=base, columns=384)
    plain = codec.encode(target, dtype=dtype, base=base)
    assert codec.inspect(frame).rank == 8
    assert codec.decode(frame, base=base, threads=2) == target.tobytes()
    assert len(frame) < {"BF16": 0.3, "F16": 0.4, "F32": 0.7}[dtype] * len(plain)


@pytest.mark.parametrize(("dtype", "below"), [("BF16", "F32"), ("F32", "BF16"), ("F16", "BF16")])
def test_bases_of_another_dtype_move_too(dtype, below):
    base, target = merged(below)[0], merged(dtype)[1]
    options = {"dtype": dtype, "base": base, "base_dtype": below}
    frame = codec.encode(target, columns=384, **options)
    assert codec.inspect(frame).rank == 8
    assert codec.decode(frame, base=base) == target.tobytes()
    assert len(frame) < len(codec.encode(target, **options))


def test_narrow_words_over_a_base_that_moves():
    base, words = merged("BF16")
    target = tensors.values(words, "BF16")
    frame = codec.encode(target, dtype="F32", base=base, base_dtype="BF16", columns=384)
    info = codec.inspect(frame)
    assert (info.rank, info.narrow) == (8, "BF16")
    assert codec.decode(frame, base=base) == target.tobytes()


@pytest.mark.parametrize("rows", [400, 600])
def test_rows_that_only_one_of_the_two_has(rows):
    base, target = merged("BF16")
    base = np.concatenate([base, base])[:rows]
    frame = codec.encode(target, dtype="BF16", base=base, columns=384)
    assert codec.inspect(frame).rank == 8
    assert codec.decode(frame, base=base) == target.tobytes()


def test_a_range_is_read_like_any_other():
    base, target = merged("F32", rows=3000)
    frame = codec.encode(target, dtype="F32", base=base, columns=384)
    raw = target.tobytes()
    for start, stop in ((0, 1), (1_048_570, 1_048_590), (4_000_001, 4_100_003)):
        assert codec.decode_range(frame, start, stop, base=base) == raw[start:stop]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_update_without_directions_is_coded_as_before(dtype):
    base, target = tensors.pair(dtype, 512 * 384)
    with_columns = codec.encode(target, dtype=dtype, base=base, columns=384)
    assert with_columns == codec.encode(target, dtype=dtype, base=base)


@pytest.mark.parametrize("columns", [0, 1, 31, 100_000, 1 << 40])
def test_columns_that_make_no_matrix_are_no_error(columns):
    base, target = merged("BF16", rows=100)
    frame = codec.encode(target, dtype="BF16", base=base, columns=columns)
    assert codec.decode(frame, base=base) == target.tobytes()
    assert codec.inspect(frame).rank == 0


def test_numbers_that_are_none_are_left_out_of_the_fit():
    base, target = merged("BF16")
    target, base = target.copy(), base.copy()
    target[3, 5:19] = tensors.awkward("BF16")
    base[200, 7:21] = tensors.awkward("BF16")
    frame = codec.encode(target, dtype="BF16", base=base, columns=384)
    assert codec.inspect(frame).rank >= 8
    assert codec.decode(frame, base=base) == target.tobytes()


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_the_largest_over_the_least_is_left_out_too(dtype):
    base, target = merged(dtype)
    target, base = target.copy(), base.copy()
    largest, least = tensors.awkward(dtype)[[6, -1]]
    target[:, 5], base[:, 5] = largest, least
    frame = codec.encode(target, dtype=dtype, base=base, columns=384)
    assert codec.inspect(frame).rank >= 8
    assert codec.decode(frame, base=base) == target.tobytes()


def test_dtypes_that_do_not_move_are_coded_as_before():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 250, (100, 100)).astype(np.uint8)
    target = base + rng.integers(0, 3, base.shape).astype(np.uint8)
    frame = codec.encode(target, dtype="U8", base=base, columns=100)
    assert frame == codec.encode(target, dtype="U8", base=base)


def test_another_base_is_told():
    base, target = merged("BF16")
    frame = codec.encode(target, dtype="BF16", base=base, columns=384)
    with pytest.raises(codec.BaseMismatch):
        codec.decode(frame, base=base + 1)


def test_factors_are_for_deltas_of_floats_alone():
    base, target = merged("BF16")
    words = codec.Words.named("BF16", None, "BF16")
    shape = {"raw_nbytes": target.nbytes, "base_nbytes": base.nbytes}
    factors = codec.choose_factors(target, base, words=words, columns=384, **shape)
    for wrong in ({"codec": "PLANE"}, {"dtype": "I16", "codec": "BITX"}, {"raw_nbytes": 4000}):
        arguments = {"dtype": "BF16", "raw_nbytes": target.nbytes, "codec": "BITX"} | wrong
        with pytest.raises(ValueError, match="factors"):
            codec.FrameEncoder(factors=factors, **arguments)


def test_factors_longer_than_the_content_make_no_frame_that_nobody_reads():
    base, target = tensors.pair("BF16", 32)
    factors = tensors.factors(4, 8, 2, -30)
    assert len(factors.stored) > target.nbytes
    with pytest.raises(ValueError, match="more than the content"):
        codec.encode(target, dtype="BF16", base=base, codec="CTX", factors=factors)


@pytest.mark.parametrize("rank", [20, 30, 40, 60])
def test_an_update_of_half_its_rank_is_no_error(rank):
    """Numbers of such factors are more than the words they would tell."""
    base, target = merged("F32", rows=64, columns=64, rank=rank)
    frame = codec.encode(target, dtype="F32", base=base, columns=64)
    assert codec.decode(frame, base=base) == target.tobytes()


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e9, 1e30])
def test_updates_of_any_size_are_no_error(scale):
    rng = np.random.default_rng(2)
    product = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 70)) * scale
    base = np.zeros((80, 70), np.float32)
    target = product.astype(np.float32)
    frame = codec.encode(target, dtype="F32", base=base, columns=70)
    assert codec.decode(frame, base=base) == target.tobytes()


def test_what_is_in_memory_of_a_long_matrix_is_bounded():
    """A vocabulary of a quarter of a million rows has room for few directions."""
    rows = np.random.default_rng(3).standard_normal((256, 512)) * np.arange(512)
    glance = Glance.of(rows, 260_000)
    assert 0 < glance.directions.shape[1] <= (1 << 22) // 260_512
