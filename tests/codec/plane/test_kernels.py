"""The compiled loops of rANS-coded planes against their plain twins, in every width there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.machine.instructions import has_word_shuffles, instruction_set
from codec.plane import encode as plane_encode
from codec.plane import kernels as plane_kernels
from codec.plane import registers as plane_registers
from tests.codec import naive
from tests.codec.plane import naive as naive_plane

ROOM = np.zeros(plane_kernels.ROOM_NBYTES, np.uint8)
WIDE = instruction_set() != "portable"


def plane_of(seed: int, length: int, symbols: int, skew: float) -> np.ndarray:
    """Bytes of which ``symbols`` occur, all of them, the more unequally the greater ``skew``."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(256)[:symbols].astype(np.uint8)
    weights = np.arange(1, symbols + 1) ** -skew
    drawn = rng.choice(chosen, length, p=weights / weights.sum())
    return rng.permutation(np.concatenate([chosen, drawn]))


planes = st.builds(
    plane_of,
    seed=st.integers(0, 999),
    length=st.integers(0, 1500),
    symbols=st.sampled_from([2, 3, 24, 63, 64, 65, 130, 256]),
    skew=st.floats(0, 4),
)


def frequencies_of(plane: np.ndarray) -> np.ndarray:
    counts, frequencies = np.empty(256, np.uint32), np.empty(256, np.uint16)
    plane_kernels.count(plane, counts)
    plane_kernels.apportion(counts, frequencies)
    return frequencies


def slots_of(frequencies: np.ndarray) -> np.ndarray:
    slots = np.empty(4096, np.uint32)
    plane_kernels.fill_slots(frequencies, slots)
    return slots


def stream_of(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies, states and words of a plane from the portable kernel."""
    frequencies = frequencies_of(plane)
    code = np.empty(512, np.uint16), np.empty(4096, np.uint16)
    plane_kernels.number_slots(frequencies, *code)
    states, words = np.full(128, 1 << 16, np.uint32), np.empty(plane.size, np.uint16)
    at = plane_kernels.encode(plane, *code, states, words, words.size)
    return frequencies, states, words[at:]


def padded(words: np.ndarray, before: int = 0) -> np.ndarray:
    """The bytes of words behind some others, and room to read behind."""
    return np.concatenate([np.zeros(before, np.uint8), words.view(np.uint8), ROOM])


@given(plane=planes)
def test_counts_and_frequencies_equal_their_twins(plane):
    counts = np.empty(256, np.uint32)
    plane_kernels.count(plane, counts)
    assert counts.tolist() == np.bincount(plane, minlength=256).tolist()
    assert frequencies_of(plane).tolist() == naive_plane.apportion(counts.tolist())


@given(plane=planes, base=st.sampled_from([0, 64, 128, 192]), shift=st.integers(0, 255))
def test_bytes_within_one_window_are_found_and_others_noticed(plane, base, shift):
    for moved in (plane, (plane & 63) | np.uint8(base), (plane & 31) + np.uint8(shift)):
        there = set(moved.tolist())
        found = int(plane_kernels.present(moved, np.uint8(base)))
        if all(base <= symbol < base + 64 for symbol in there):
            assert found == sum(1 << (symbol - base) for symbol in there)
        else:
            assert found == 0


@given(plane=planes)
def test_stored_frequencies_are_read_again(plane):
    frequencies = frequencies_of(plane)
    room = np.empty(512, np.uint8)
    stored = room[: plane_kernels.write_frequencies(frequencies, room)].tobytes()
    assert stored == naive_plane.store_frequencies(frequencies.tolist())
    again = np.empty(256, np.uint16)
    behind = np.frombuffer(stored + b"\7", np.uint8)
    assert plane_kernels.read_frequencies(behind, again) == len(stored)
    assert again.tolist() == frequencies.tolist()


@given(data=st.binary(max_size=300))
def test_frequencies_of_any_bytes_fill_the_slots_or_are_refused(data):
    frequencies = np.empty(256, np.uint16)
    taken = plane_kernels.read_frequencies(np.frombuffer(data, np.uint8), frequencies)
    assert taken <= len(data)
    if taken >= 0:
        assert frequencies.sum() == 4096
        assert frequencies.max() < 4096


@given(plane=planes)
@settings(deadline=None)
def test_slots_are_laid_out_as_by_the_twin(plane):
    frequencies = frequencies_of(plane)
    slots = slots_of(frequencies)
    entries = [(slot & 255, slot >> 20) for slot in slots.tolist()]
    assert entries == naive_plane.lay_out(frequencies.tolist())
    assert np.array_equal(slots >> 8 & 4095, frequencies[slots & 255])


@given(plane=planes)
@settings(deadline=None)
def test_streams_equal_those_of_the_twin_and_come_back(plane):
    frequencies, states, words = stream_of(plane)
    listed = frequencies.tolist()
    assert (states.tolist(), words.tolist()) == naive_plane.encode(plane.tolist(), listed)
    twin = naive_plane.decode(states.tolist(), words.tolist(), listed, plane.size)
    assert twin == (plane.tolist(), True)
    restored, end = np.empty_like(plane), 7 + words.nbytes
    stream = padded(words, before=7)
    slots = slots_of(frequencies)
    assert plane_kernels.decode(stream, 7, end, states, slots, restored) == end
    assert restored.tobytes() == plane.tobytes()
    assert np.all(states == 1 << 16)


@pytest.mark.skipif(not has_word_shuffles(), reason="this processor has no word shuffles")
@given(plane=planes)
@settings(deadline=None)
def test_rows_in_registers_make_the_same_words(plane):
    plane = plane[: plane.size - plane.size % 128]
    if np.unique(plane).size < 2:
        return
    frequencies, states, words = stream_of(plane)
    code = np.empty(512, np.uint16), np.empty(4096, np.uint16)
    plane_kernels.number_slots(frequencies, *code)
    wide, room = np.full(128, 1 << 16, np.uint32), np.empty(plane.size, np.uint16)
    at = plane_encode.encode(plane, *code, wide, room, room.size)
    assert room[at:].tolist() == words.tolist()
    assert wide.tolist() == states.tolist()


@pytest.mark.skipif(not WIDE, reason="this processor has no vectors that the kernels know")
@given(plane=planes)
@settings(deadline=None)
def test_rows_of_vectors_come_back(plane):
    from codec.plane import wide as plane_wide

    frequencies, states, words = stream_of(plane)
    whole = plane.size - plane.size % 128
    restored, end = np.empty_like(plane), 3 + words.nbytes
    stream, slots = padded(words, before=3), slots_of(frequencies)
    at = plane_wide.decode(stream, 3, end, states, slots, restored[:whole])
    assert plane_kernels.decode(stream, at, end, states, slots, restored[whole:]) == end
    assert restored.tobytes() == plane.tobytes()


def mergers(width):
    """Every kernel of this processor that makes words of a stream and planes."""
    from codec.plane import shuffles as plane_shuffles

    known = [plane_shuffles.MERGE[width]]
    return [plane_registers.MERGE[width], *known] if has_word_shuffles() else known


@pytest.mark.skipif(not WIDE, reason="this processor has no vectors that the kernels know")
@given(plane=planes, seed=st.integers(0, 99), width=st.sampled_from([2, 4]))
@settings(deadline=None)
def test_words_are_merged_straight_from_the_stream(plane, seed, width):
    frequencies, states, words = stream_of(plane)
    tables = np.empty(256, np.uint16)
    if not plane_kernels.fill_registers(frequencies, 7, tables):
        assert np.count_nonzero(frequencies) > 64
        return
    whole, rng = plane.size - plane.size % 128, np.random.default_rng(seed)
    rest = [rng.integers(0, 256, whole).astype(np.uint8) for _ in range(width - 1)]
    twin, end = naive.merge([plane[:whole], *rest], fields=True).tobytes(), words.nbytes
    for merge in mergers(width):
        left, out = states.copy(), np.empty(whole * width + 1, np.uint8)[1:]
        assert 0 <= merge(padded(words), 0, end, left, tables, *rest, out) <= end
        assert out.tobytes() == twin


@given(plane=planes, seed=st.integers(0, 99), length=st.integers(0, 300))
@settings(deadline=None)
def test_words_of_any_content_are_read_no_further_than_their_room(plane, seed, length):
    rng = np.random.default_rng(seed)
    frequencies = frequencies_of(plane)
    slots, tables = slots_of(frequencies), np.empty(256, np.uint16)
    stream = padded(np.frombuffer(rng.bytes(2 * length), np.uint16))
    first = rng.integers(0, 1 << 32, 128, dtype=np.uint32)
    whole = plane.size - plane.size % 128
    kernels = [(plane_kernels.decode, (slots, np.empty_like(plane)))]
    if WIDE:
        from codec.plane import wide as plane_wide

        kernels.append((plane_wide.decode, (slots, np.empty(whole, np.uint8))))
    if WIDE and plane_kernels.fill_registers(frequencies, 7, tables):
        for width in (2, 4):
            rest = [plane[:whole]] * (width - 1)
            made = np.empty(whole * width, np.uint8)
            kernels += [(merge, (tables, *rest, made)) for merge in mergers(width)]
    ends = [kernel(stream, 0, 2 * length, first.copy(), *more) for kernel, more in kernels]
    assert all(end <= 2 * length for end in ends)
    assert len(set(ends[1:])) <= 1
