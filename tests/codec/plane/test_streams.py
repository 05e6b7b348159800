"""Which coding a plane gets, and that each comes back or is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.elements.dtypes import DType, layout_of
from codec.errors import CorruptFrame
from codec.plane.planes import split
from codec.plane.rans import count_bytes, merge_rans, pack_rans, unpack_rans
from codec.plane.streams import Coding, pack_plane, pack_stream, unpack_stream
from codec.plane.survey import stream_nbytes
from tests.codec import tensors

RNG = np.random.default_rng(0)
EXPONENTS = split(tensors.pair("BF16", 200_000)[0].view(np.uint8), layout_of(DType.BF16))[0].copy()
NOISE = RNG.integers(0, 256, 200_000).astype(np.uint8)
BYTES = (RNG.standard_normal(200_000) * 30).astype(np.int8).view(np.uint8)
PLANES = {
    "exponents": (EXPONENTS, Coding.RANS),
    "few symbols": (EXPONENTS & 1, Coding.RANS),
    "all symbols": (
        (RNG.standard_normal(200_000) * 30).astype(np.int8).view(np.uint8),
        Coding.RANS,
    ),
    "exponents and a zero": (np.append(EXPONENTS, 0).astype(np.uint8), Coding.RANS),
    "constant": (np.full(200_000, 7, np.uint8), Coding.CONSTANT),
    "noise": (NOISE, Coding.RAW),
    "repeated rows of noise": (np.tile(NOISE[:2000], 100), Coding.ZSTD),
    "runs": (np.repeat(NOISE[:20_000], 10), Coding.ZSTD),
    "empty rows": (np.where(np.arange(200_000) % 20_000 < 9000, 0, EXPONENTS), Coding.ZSTD),
    "constant but for the end": (np.append(np.full(200_000, 7, np.uint8), NOISE[:50]), Coding.ZSTD),
    "short": (EXPONENTS[:3000], Coding.ZSTD),
    "empty": (EXPONENTS[:0], Coding.RAW),
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_get_the_coding_that_suits_them(name):
    plane, expected = PLANES[name]
    coding, stored = pack_plane(plane)
    assert coding is expected
    assert len(stored) <= plane.size
    stored = np.frombuffer(bytes(stored), np.uint8)
    assert unpack_stream(coding, stored, plane.size, "plane").tobytes() == plane.tobytes()


@pytest.mark.parametrize("name", PLANES)
def test_no_plane_is_much_longer_than_with_zstd(name):
    plane, _ = PLANES[name]
    assert len(pack_plane(plane)[1]) <= len(pack_stream(plane)[1]) / 0.985


@pytest.mark.parametrize("length", [5000, 40_000, 200_000])
@pytest.mark.parametrize("name", ["exponents", "few symbols", "all symbols"])
def test_lengths_of_streams_are_foretold(name, length):
    plane = PLANES[name][0][:length]
    counts = count_bytes(plane)
    assert stream_nbytes(counts, 1.0) == pytest.approx(len(pack_rans(plane, counts)), abs=150)


@given(data=st.binary(min_size=2, max_size=1000), repeat=st.integers(1, 5))
@settings(deadline=None)
def test_planes_of_any_bytes_come_back(data, repeat):
    plane = np.frombuffer(data * repeat, np.uint8)
    if np.unique(plane).size < 2:
        return
    stored = np.frombuffer(pack_rans(plane, count_bytes(plane)), np.uint8)
    restored = np.empty_like(plane)
    unpack_rans(stored, restored)
    assert restored.tobytes() == plane.tobytes()


STREAM = np.frombuffer(pack_rans(EXPONENTS[:3001], count_bytes(EXPONENTS[:3001])), np.uint8)


@given(data=st.data())
@settings(deadline=None, max_examples=500)
def test_altered_streams_are_refused_or_make_another_plane(data):
    stored = STREAM.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        stored[data.draw(st.integers(0, stored.size - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack_rans(stored, np.empty(3001, np.uint8))
    except CorruptFrame:
        return


@pytest.mark.parametrize("width", [2, 4])
def test_streams_cut_short_or_too_long_are_refused(width):
    layout = layout_of(DType.BF16 if width == 2 else DType.F32)
    rest, out = [NOISE[:3001]] * (width - 1), np.empty(3001 * width, np.uint8)
    behind = np.concatenate([STREAM, NOISE[:1000]])
    merge_rans(behind, 0, STREAM.size, rest, layout, out)
    merge_rans(STREAM, 0, STREAM.size, rest, layout, out)
    cuts = [*range(0, STREAM.size, 7), *range(STREAM.size - 4, STREAM.size)]
    for stop in [*cuts, STREAM.size + 1, STREAM.size + 2, STREAM.size + 900]:
        with pytest.raises(CorruptFrame):
            merge_rans(behind, 0, stop, rest, layout, out)
        with pytest.raises(CorruptFrame):
            unpack_rans(behind[:stop], np.empty(3001, np.uint8))
    for length in (2999, 3002):
        with pytest.raises(CorruptFrame):
            unpack_rans(STREAM, np.empty(length, np.uint8))


def test_planes_of_another_number_of_symbols_than_registers_hold_are_merged_too():
    plane, layout = BYTES[:5000], layout_of(DType.BF16)
    stored = np.frombuffer(pack_rans(plane, count_bytes(plane)), np.uint8)
    out = np.empty(10_000, np.uint8)
    merge_rans(stored, 0, stored.size, [NOISE[:5000]], layout, out)
    first, second = split(out, layout)
    assert (first.tobytes(), second.tobytes()) == (plane.tobytes(), NOISE[:5000].tobytes())
