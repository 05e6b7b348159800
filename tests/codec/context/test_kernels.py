"""The compiled loops of CTX against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.context import decode as context_decode
from codec.context import kernels as context_kernels
from codec.context import training
from codec.context.alphabet import MARK, Alphabet, written
from codec.context.block import code_tables, gain_of, shape_of
from codec.context.slots import load_tables, wide_slots
from codec.elements.dtypes import DType, layout_of
from tests.codec import tensors
from tests.codec.context import naive as naive_context

DTYPES = ("BF16", "F16", "F32")
dtypes = st.sampled_from(DTYPES)


def words_of(data: bytes, dtype: str) -> np.ndarray:
    width = naive_context.WIDTH[dtype]
    return np.frombuffer(data[: len(data) - len(data) % width], f"<u{width}")


def pair_of(data: bytes, seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A target of any bytes and a base that shares some groups, is near in some, far in others."""
    target = words_of(data, dtype)
    rng = np.random.default_rng(seed)
    near = target + rng.integers(-3, 4, target.size).astype(target.dtype)
    far = words_of(rng.bytes(target.nbytes), dtype)
    kind = np.repeat(rng.integers(0, 3, -(-target.size // 64)), 64)[: target.size]
    return target, np.choose(kind, [target, near, far]).astype(target.dtype)


def alphabet_of(dtype: str) -> Alphabet:
    return written(layout_of(DType[dtype]))


def portable(streams, tables, alphabet, base, out, *shape):
    """The portable kernel with the arguments of the fastest one."""
    slots, shift = wide_slots(tables, alphabet)
    turn = (alphabet.turn,) if alphabet.width == 2 else ()
    kernel = context_decode.PORTABLE[out.itemsize]
    return kernel(*streams, slots, base, out, 0, *shape, shift, *turn)


def symbolise(target, base, dtype, folds):
    layout = layout_of(DType[dtype])
    width, room = layout.width, target.size + 1
    scales = np.empty(-(-target.size // 256), np.uint8)
    cells, raws = np.zeros(target.size, np.uint16), np.zeros(width * room, np.uint8)
    cursors = np.arange(width, dtype=np.int64) * room
    arguments = (*shape_of(layout), gain_of(layout), folds, scales, cells, raws, cursors)
    context_kernels.symbolise(target, base, *arguments)
    return scales, cells, [raws[k * room : end].tobytes() for k, end in enumerate(cursors)]


def decode(words, raws, scales, tables, alphabet, base, dtype, kernel=context_decode.decode):
    """What a decoder restores, and whether all streams were used up."""
    layout = layout_of(DType[dtype])
    stored = words.astype("<u2").tobytes()
    bounds = np.cumsum([0, *map(len, raws)])
    cursors = np.array([256, *bounds[:-1]], np.int64)
    ends = np.array([len(stored), *bounds[1:]], np.int64)
    states = words[:128].view(np.uint32).copy()
    out = np.empty_like(base)
    streams = (
        *(np.frombuffer(stored, np.uint8), np.zeros(2048, np.uint8)),
        *(np.frombuffer(b"".join(raws) + bytes(512), np.uint8), ends, cursors, states, scales),
    )
    fits = kernel(streams, tables, alphabet, base, out, *shape_of(layout))
    return out, bool(fits and np.array_equal(cursors, ends) and np.all(states == 1 << 16))


@given(data=st.binary(max_size=3000), seed=st.integers(0, 99), dtype=dtypes)
@settings(max_examples=150, deadline=None)
def test_kernels_equal_their_twins(data, seed, dtype):
    target, base = pair_of(data, seed, dtype)
    tables = training.train([(target[: seed * 9], base[: seed * 9])], dtype=dtype)
    alphabet = alphabet_of(dtype)
    codes, rows = code_tables(tables, alphabet), load_tables(tables, alphabet)
    scales, cells, raws = symbolise(target, base, dtype, codes.folds)
    twin = naive_context.symbolise(target, base, dtype, codes.folds, alphabet.has_signs)
    assert (scales.tolist(), raws) == (twin[0], twin[2])
    assert all(b in (None, a) for a, b in zip(cells.tolist(), twin[1], strict=True))
    room = np.zeros(target.size + 129, np.uint16)
    at = context_kernels.encode(
        cells, scales, codes.frequencies, codes.firsts, codes.inverses, room
    )
    assert room[at:].tolist() == naive_context.encode(twin[1], rows)
    words = room[at:].copy()
    for kernel in (context_decode.decode, portable):
        out, spent = decode(words, raws, scales, tables, alphabet, base, dtype, kernel)
        assert spent
        assert out.tobytes() == target.tobytes()
    told = naive_context.decode(
        words.tolist(), raws, twin[0], rows, base, dtype, alphabet.has_signs
    )
    assert told == out.tolist()


@given(data=st.binary(max_size=3000), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES[:2]))
@settings(max_examples=100, deadline=None)
def test_words_of_sixteen_bits_are_read_in_the_alphabet_they_had_before(data, seed, dtype):
    target, base = pair_of(data, seed, dtype)
    alphabet = Alphabet(2, has_signs=False)
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 2000, (16, 1)) * rng.exponential(1, (16, 1024)) ** 9
    tables = training.tables_of(counts.clip(0, 1e9).astype(np.uint32), 1.0, alphabet)
    rows = load_tables(tables, alphabet)
    folds = training.folds_of(rows, alphabet)
    scales, cells, raws = naive_context.symbolise(target, base, dtype, folds, signs=False)
    words = np.array(naive_context.encode(cells, rows), np.uint16)
    raws[0] = bytes(byte ^ MARK for byte in raws[0])  # as kernels take them
    for kernel in (context_decode.decode, portable):
        streams = words, raws, np.array(scales, np.uint8), tables, alphabet, base, dtype
        out, spent = decode(*streams, kernel)
        assert spent
        assert out.tobytes() == target.tobytes()


@given(data=st.binary(min_size=600, max_size=3000), seed=st.integers(0, 99), dtype=dtypes)
@settings(max_examples=150, deadline=None)
def test_streams_of_any_bytes_are_read_no_further_than_their_room(data, seed, dtype):
    target, base = pair_of(data, seed, dtype)
    tables = training.train([(target, base)], dtype=dtype)
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 16, 128 + rng.integers(0, 400)).astype(np.uint16)
    raws = [rng.bytes(rng.integers(0, 200)) for _ in range(target.itemsize)]
    scales = rng.integers(0, 256, -(-target.size // 256)).astype(np.uint8)
    decode(words, raws, scales, tables, alphabet_of(dtype), base, dtype)


@given(data=st.binary(max_size=1500), seed=st.integers(0, 99), dtype=dtypes)
@settings(deadline=None)
def test_counts_are_those_of_the_twins_symbols(data, seed, dtype):
    target, base = pair_of(data, seed, dtype)
    counts = np.zeros(16 * 1024, np.uint32)
    layout = layout_of(DType[dtype])
    scales = np.empty(-(-target.size // 256), np.uint8)
    context_kernels.count(target, base, *shape_of(layout), gain_of(layout), counts, scales, 256)
    signs = alphabet_of(dtype).has_signs
    twin, cells, _ = naive_context.symbolise(target, base, dtype, np.arange(counts.size), signs)
    assert scales.tolist() == twin
    present = [cell for cell in cells if cell is not None]
    assert np.array_equal(counts, np.bincount(present, minlength=counts.size).astype(np.uint32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pair_of_awkward_floats_has_a_difference(dtype):
    words = tensors.awkward(dtype).tolist()
    bits = 8 * naive_context.WIDTH[dtype]
    for word in words:
        for below in words:
            z = naive_context.difference(word, below, bits)
            assert 0 <= z < 1 << bits
            assert naive_context.restored(z, below, bits) == word


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_distances_are_equal_differences_across_a_power_of_two(dtype):
    mantissa = naive_context.MANTISSA[dtype]
    one = ((1 << (naive_context.EXPONENT[dtype] - 1)) - 1) << mantissa
    bits = 8 * naive_context.WIDTH[dtype]
    assert naive_context.difference(one - 1, one, bits) == 1
    assert naive_context.difference(one, one - 1, bits) == 2
