"""Code tables: what is stored is what is loaded, and nothing else is believed."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from codec.context.alphabet import STILL, Alphabet, entries, values
from codec.context.slots import load_tables, narrow_slots, store_tables, wide_slots
from codec.context.training import folds_of, tables_of
from codec.errors import CorruptFrame
from codec.steps import SLOTS, STEPS

SIGNS, LENGTHS = Alphabet(2, has_signs=True), Alphabet(4, has_signs=False)
ALPHABETS = (SIGNS, LENGTHS, Alphabet(2, has_signs=False))


def trained(seed: int, alphabet: Alphabet, spread: float) -> bytes:
    rng = np.random.default_rng(seed)
    counts = rng.exponential(1, (16, 1024)) ** spread * rng.integers(0, 2000, (16, 1))
    return tables_of(counts.clip(0, 1e9).astype(np.uint32).reshape(-1), 1.0, alphabet)


@given(
    seed=st.integers(0, 1000),
    alphabet=st.sampled_from(ALPHABETS),
    spread=st.floats(0, 30, width=16),
)
def test_any_counts_give_tables_that_code_everything(seed, alphabet, spread):
    rows = load_tables(trained(seed, alphabet, spread), alphabet)
    assert np.all(rows.sum(axis=1) == SLOTS)
    assert rows.max() < SLOTS
    assert np.all(rows[:, -1] > 0)
    cells = folds_of(rows, alphabet).reshape(16, 1024)[:, : alphabet.symbols]
    contexts = np.arange(16)[:, None]
    assert np.all(rows[contexts, cells % 1024] > 0)
    assert np.all(cells // 1024 == contexts)
    assert load_tables(store_tables(rows), alphabet).tolist() == rows.tolist()


@given(
    seed=st.integers(0, 1000),
    alphabet=st.sampled_from(ALPHABETS),
    spread=st.floats(0, 30, width=16),
)
def test_entries_tell_symbol_frequency_and_place_of_every_slot_they_stand_for(
    seed, alphabet, spread
):
    tables = trained(seed, alphabet, spread)
    narrow, shift = narrow_slots(tables, alphabet)
    wide, same = wide_slots(tables, alphabet)
    assert shift == same
    chosen = np.arange(16 * SLOTS) >> int(shift)
    low = (np.arange(SLOTS) & ((1 << int(shift)) - 1)).astype(np.uint32)
    rows = load_tables(tables, alphabet)
    every = zip(
        narrow[chosen].reshape(16, SLOTS),
        wide.reshape(-1, 4)[chosen].reshape(16, SLOTS, 4),
        rows,
        strict=True,
    )
    for packed, parts, frequencies in every:
        symbols = np.repeat(np.arange(alphabet.symbols), frequencies)
        firsts = (np.cumsum(frequencies) - frequencies)[symbols]
        assert np.array_equal(packed & 1023, entries(alphabet)[symbols])
        assert np.array_equal(packed >> 10 & 2047, frequencies[symbols])
        assert np.array_equal((packed >> 21) + low, np.arange(SLOTS) - firsts)
        assert np.array_equal(parts[:, 0], values(alphabet)[symbols])
        assert np.array_equal(parts[:, 1], frequencies[symbols])
        assert np.array_equal(parts[:, 2], firsts)


def test_values_are_steps_or_say_that_bytes_follow():
    for alphabet in ALPHABETS[::2]:
        assert (values(alphabet)[:5] - STILL).astype(np.int16).tolist() == [0, -1, 1, -2, 2]
        assert values(alphabet)[:256].max() < 256
        assert np.array_equal(values(alphabet)[256:], entries(alphabet)[256:])
        assert np.all(values(alphabet)[256:] & 512)
    assert np.array_equal(values(LENGTHS), np.arange(1024))


@pytest.mark.parametrize(("busy", "step"), [(1, 1), (2, 2), (3, 2), (4, 4), (16, 4)])
def test_the_more_contexts_are_in_use_the_fewer_entries_their_tables_have(busy, step):
    counts = np.zeros((16, 1024), np.uint32)
    counts[:busy, :768] = np.random.default_rng(0).zipf(1.5, (busy, 768)).clip(0, 9999)
    tables = tables_of(counts.reshape(-1), 1.0, SIGNS)
    slots, shift = narrow_slots(tables, SIGNS)
    assert 1 << int(shift) >= step
    assert slots.size << int(shift) == 16 * SLOTS
    assert not np.any(load_tables(tables, SIGNS) % step)


def test_an_empty_sample_makes_the_smallest_difference_the_likeliest():
    rows = load_tables(tables_of(np.zeros(16 * 1024, np.uint32), 1.0, SIGNS), SIGNS)
    assert rows[:, 0].tolist() == [2047] * 16
    assert STEPS.tolist() == sorted(set(STEPS.tolist()))


@given(data=st.binary(max_size=400), alphabet=st.sampled_from(ALPHABETS))
def test_arbitrary_bytes_are_no_tables(data, alphabet):
    for tables in (data, zstandard.compress(data), zstandard.compress(bytes(80) + data)):
        with pytest.raises(CorruptFrame):
            load_tables(tables, alphabet)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_altered_tables_are_refused_or_still_fill_their_slots(position, value):
    content = bytearray(zstandard.decompress(trained(3, SIGNS, 3.0)))
    content[position % len(content)] = value
    try:
        rows = load_tables(zstandard.compress(bytes(content)), SIGNS)
    except CorruptFrame:
        return
    assert np.all(rows.sum(axis=1) == SLOTS)
    assert rows.max() < SLOTS


def test_tables_that_announce_more_than_they_may_hold_are_not_unpacked():
    with pytest.raises(CorruptFrame, match="length"):
        load_tables(zstandard.compress(bytes(1 << 26)), SIGNS)
