"""The compiled loops of SPARSE against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.elements.dtypes import DType, layout_of
from codec.sparse import kernels as sparse_kernels
from codec.sparse import rans as sparse_rans
from codec.sparse import training as sparse_training
from codec.sparse.block import Changes, fold_of, sizes_of
from codec.sparse.tables import CONTEXTS, loaded_tables, symbols_of
from tests.codec.sparse import naive as naive_sparse

DTYPES = ("U8", "F8_E5M2", "I16", "BF16", "F32", "U32", "I64", "F64")
dtypes = st.sampled_from(DTYPES)


def pair_of(data: bytes, seed: int, share: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A base of any bytes, and a target that differs from it in some words, by little or by all."""
    width = layout_of(DType[dtype]).width
    base = np.frombuffer(data[: len(data) - len(data) % width], f"<u{width}")
    rng = np.random.default_rng(seed)
    near = base + rng.integers(-3, 4, base.size).astype(base.dtype)
    far = np.frombuffer(rng.bytes(base.nbytes), base.dtype)
    kind = rng.choice(3, base.size, p=[1 - share, 0.8 * share, 0.2 * share])
    return np.choose(kind, [base, near, far]).astype(base.dtype), base


def tables_of(target: np.ndarray, base: np.ndarray, dtype: str, seed: int) -> bytes:
    """Tables from a part of the words, so that not all that comes is known to them."""
    pair = (target[: seed * 20].view(np.uint8), base[: seed * 20].view(np.uint8))
    layout = layout_of(DType[dtype])
    return sparse_training.census(lambda: [pair], layout, weight=50.0).stored


@given(
    data=st.binary(max_size=3000),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.01, 0.1, 0.4]),
    dtype=dtypes,
    few=st.lists(st.integers(1, (1 << 15) - 1), max_size=3, unique=True),
)
@settings(max_examples=300, deadline=None)
def test_kernels_equal_their_twins(data, seed, share, dtype, few):
    target, base = pair_of(data, seed, share, dtype)
    layout = layout_of(DType[dtype])
    bits, is_float = 8 * layout.width, layout.is_float
    codes = loaded_tables(tables_of(target, base, dtype, seed), layout.width)
    tables = codes.tables
    if seed % 2:
        tables = type(tables)(tuple(sorted(few)), tables.rows, tables.frequencies)
    limits = tables.word_limits(layout.width)
    changes = Changes.of(target, base, limits, fold_of(layout))
    if changes is None:
        assert np.count_nonzero(target != base) > target.size // 2
        return
    twin = naive_sparse.changes(target.tolist(), base.tolist(), limits.tolist(), bits, is_float)
    bounds = changes.bounds.tolist()
    for k, (_, gaps, numbers) in enumerate(twin):
        here = slice(bounds[k], bounds[k + 1])
        assert changes.gaps[here].tolist() == gaps
        assert changes.numbers[here].tolist() == numbers
        assert changes.contexts[here].tolist() == naive_sparse.contexts(gaps)
    rows = np.resize(tables.rows, (CONTEXTS + 1) * len(twin))
    room = np.zeros(8 * changes.total + 4 * len(twin) + 4, np.uint16)
    at = sparse_rans.encode(
        *(changes.gaps, changes.numbers, changes.contexts, changes.bounds),
        *(rows, tables.frequencies, codes.firsts, bits, room),
    )
    plain = tables.frequencies[rows].reshape(len(twin), CONTEXTS + 1, -1).tolist()
    gap_rows, number_rows = [part[:-1] for part in plain], [part[-1] for part in plain]
    words = naive_sparse.encode(twin, gap_rows, number_rows, bits)
    assert room[at:].tolist() == words
    sizes, reached = sizes_of(base, limits)
    found, ranks = np.zeros(len(twin) + 1, np.int64), np.zeros(target.size // 2, np.uint32)
    numbers = np.zeros(target.size // 2, np.uint64)
    padded = np.array(words + [0] * sparse_rans.ROOM, np.uint16)
    assert sparse_rans.decode(
        padded, len(words), sizes, rows, codes.slots, bits, found, ranks, numbers
    )
    assert found.tolist() == bounds
    assert ranks[: bounds[-1]].tolist() == [rank for part in twin for rank in part[0]]
    out = base.copy()
    sparse_kernels.scatter(base, limits, reached, found, ranks, numbers, fold_of(layout), out)
    assert out.tobytes() == target.tobytes()
    by_class = [(part[0], part[2]) for part in twin]
    again = naive_sparse.scatter(base.tolist(), limits.tolist(), by_class, bits, is_float)
    assert again == target.tolist()


@given(data=st.binary(min_size=200, max_size=3000), seed=st.integers(0, 999), dtype=dtypes)
@settings(max_examples=300, deadline=None)
def test_words_at_random_are_read_no_further_than_their_room(data, seed, dtype):
    target, base = pair_of(data, seed, 0.2, dtype)
    codes = loaded_tables(tables_of(target, base, dtype, seed % 100), layout_of(DType[dtype]).width)
    sizes = sizes_of(base, codes.limits)[0]
    bounds = np.zeros(sizes.size + 1, np.int64)
    ranks, numbers = (np.zeros(base.size // 2, kind) for kind in (np.uint32, np.uint64))
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 16, 4 + rng.integers(0, 300)).astype(np.uint16)
    words[1::2][:2] |= 1
    padded = np.append(words, np.zeros(sparse_rans.ROOM, np.uint16))
    bits = 8 * base.itemsize
    sparse_rans.decode(
        *(padded, words.size, sizes, codes.tables.rows, codes.slots, bits, bounds, ranks, numbers)
    )
    for k in range(sizes.size):
        here = ranks[bounds[k] : max(bounds[k + 1], bounds[k])]
        assert np.all(here < sizes[k])


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 64])
def test_symbols_cover_all_numbers_and_no_more(bits):
    top = (1 << bits) - 1
    assert naive_sparse.symbol(top)[0] == symbols_of(bits) - 1
    values = sorted({v for at in range(bits) for v in ((1 << at) - 1, 1 << at, 3 << at)} | {top})
    symbols = [naive_sparse.symbol(value)[0] for value in values if value <= top]
    assert symbols == sorted(symbols)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pair_of_words_at_the_edges_has_a_number(dtype):
    layout = layout_of(DType[dtype])
    bits, is_float = 8 * layout.width, layout.is_float
    top = 1 << (bits - 1)
    edges = [0, 1, 2, top - 2, top - 1, top, top + 1, 2 * top - 2, 2 * top - 1]
    pairs = [(a, b) for a in edges for b in edges if a != b]
    target, base = (np.array(part, f"<u{layout.width}") for part in zip(*pairs, strict=True))
    padding = np.zeros(target.size, target.dtype)
    words, below = np.append(target, padding), np.append(base, padding)
    changes = Changes.of(words, below, np.empty(0, np.uint64), fold_of(layout))
    assert changes is not None
    for value, a, b in zip(changes.numbers.tolist(), target.tolist(), base.tolist(), strict=True):
        assert value == naive_sparse.number(a, b, bits, is_float)
        assert 0 <= value < (1 << bits) - 1
        assert naive_sparse.changed(value, b, bits, is_float) == a
