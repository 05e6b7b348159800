"""Frames of any size come out whole, window by window, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from client import unpack as module
from client.buffers import Buffers
from client.unpack import WINDOW_NBYTES, unpack, windows_of


def weights(nbytes: int, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 4 + 1).astype("<f4")
    return (values.view(np.uint32) >> 16).astype("<u2").tobytes()[:nbytes]


def joined(frame: bytes, nbytes: int, read_base=None) -> bytes:
    return b"".join(map(bytes, unpack(memoryview(frame), nbytes, read_base, Buffers())))


@pytest.mark.parametrize("nbytes", [0, 1, 5_000, WINDOW_NBYTES, 2 * WINDOW_NBYTES + 1_000_001])
def test_content_of_any_length_comes_out_whole(nbytes):
    raw = (weights(2 << 20) * (nbytes // (1 << 20) + 1))[:nbytes]
    frame = codec.encode(raw, dtype="BF16", codec="PLANE")
    assert joined(frame, nbytes) == raw


def test_delta_reads_its_base_block_by_block():
    base = weights(6 << 20)
    raw = bytearray(base)
    raw[::4096] = bytes(len(raw[::4096]))
    frame = codec.encode(raw, dtype="BF16", base=base, codec="BITX")
    asked: list[tuple[int, int]] = []

    def read_base(start: int, stop: int) -> memoryview:
        asked.append((start, stop))
        return memoryview(base)[start:stop]

    assert joined(frame, len(raw), read_base) == bytes(raw)
    assert max(stop - start for start, stop in asked) <= codec.BLOCK_NBYTES
    with pytest.raises(codec.BaseMismatch):
        joined(frame, len(raw))
    with pytest.raises(codec.BaseMismatch):
        joined(frame, len(raw), lambda start, stop: memoryview(base)[start : stop - 1])


def test_frame_of_another_length_is_refused():
    frame = codec.encode(weights(5_000), dtype="BF16", codec="PLANE")
    for stored, nbytes in ((frame, 4_999), (frame + b"x", 5_000), (frame[:-1], 5_000)):
        with pytest.raises(codec.CorruptFrame):
            joined(stored, nbytes)


@given(st.binary(max_size=50), st.integers(1, 20))
def test_windows_cover_what_is_read(data, window_nbytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW_NBYTES", window_nbytes)
        windows = list(windows_of(len(data), lambda start, stop: memoryview(data)[start:stop]))
    assert b"".join(windows) == data
    assert all(0 < len(window) <= window_nbytes for window in windows)
