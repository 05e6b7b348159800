"""Tables from samples: what they are worth, and what they cost."""

import numpy as np
import pytest

import codec
from codec.context import training
from codec.context.alphabet import Alphabet
from codec.context.slots import load_tables
from tests.codec import tensors


def ctx_nbytes(base, target, dtype: str) -> int:
    return len(codec.encode(target, dtype=dtype, base=base, codec="CTX"))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("drift", [3e-5, 1.2e-4, 1e-3])
def test_contexts_beat_xor_planes(dtype, drift):
    base, target = tensors.pair(dtype, 300_000, drift=drift)
    xored = len(codec.encode(target, dtype=dtype, base=base, codec="BITX"))
    assert ctx_nbytes(base, target, dtype) < 0.95 * xored


def test_small_tensors_get_small_tables():
    lengths = {}
    for count in (2000, 20_000, 500_000):
        base, target = tensors.pair("BF16", count)
        lengths[count] = len(codec.train([(target, base)], dtype="BF16"))
    assert lengths[2000] < lengths[20_000] < lengths[500_000] < 1500
    assert lengths[2000] < 300


def test_tables_of_a_sample_are_as_detailed_as_the_whole_deserves():
    base, target = tensors.pair("BF16", 20_000)
    short = codec.train([(target, base)], dtype="BF16")
    long = codec.train([(target, base)], dtype="BF16", raw_nbytes=1 << 30)
    rows = [load_tables(tables, Alphabet(2, has_signs=True)) for tables in (short, long)]
    assert len(np.unique(rows[1], axis=0)) >= len(np.unique(rows[0], axis=0))
    assert len(long) > len(short)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_coarser_frequencies_cost_less_than_a_hundredth(dtype, monkeypatch):
    base, target = tensors.pair(dtype, 300_000)
    coarse = ctx_nbytes(base, target, dtype)
    monkeypatch.setattr(training, "slot_step", lambda _rows: 1)
    assert coarse < 1.01 * ctx_nbytes(base, target, dtype)


def test_a_sample_of_a_long_tensor_is_nearly_as_good_as_all_of_it():
    base, target = tensors.pair("BF16", 4 << 20)
    whole = codec.train([(target, base)], dtype="BF16")
    encoder = codec.FrameEncoder(dtype="BF16", raw_nbytes=target.nbytes, codec="CTX", tables=whole)
    raw, below = target.view(np.uint8), base.view(np.uint8)
    nbytes = sum(
        len(
            encoder.encode_block(
                i, raw[slice(*encoder.raw_range(i))], below[slice(*encoder.base_range(i))]
            )
        )
        for i in range(encoder.block_count)
    )
    assert ctx_nbytes(base, target, "BF16") < 1.002 * (nbytes + encoder.head_nbytes)


def test_only_floats_with_an_exponent_are_contextual():
    assert [name for name in ("BF16", "F16", "F32", "C64") if codec.is_contextual(name)] == [
        "BF16",
        "F16",
        "F32",
        "C64",
    ]
    assert not any(map(codec.is_contextual, ("U8", "I16", "F64", "F8_E8M0", "BOOL")))
