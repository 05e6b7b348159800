"""Plain twins of the kernels of planes, distances and ``codec.gear``, to read and compare with."""

import numpy as np


def split(words, *, fields=False, base=None):
    """Planes from the most significant byte down, as one byte array per plane."""
    width = words.dtype.itemsize
    if base is not None:
        words = words ^ base
    if fields:
        words = swap_sign(words)
    return [((words >> (8 * k)) & 0xFF).astype(np.uint8) for k in reversed(range(width))]


def merge(planes, *, fields=False, base=None):
    width = len(planes)
    words = np.zeros(len(planes[0]), f"<u{width}")
    for plane in planes:
        words = (words << 8) | plane if width > 1 else plane.copy()
    if fields:
        words = swap_sign_back(words)
    return words if base is None else words ^ base


def swap_sign(words):
    """Sign bit moved from the top to just below the eight exponent bits."""
    bits = 8 * words.dtype.itemsize
    mantissa = words & ((1 << (bits - 9)) - 1)
    exponent = (words >> (bits - 9)) & 0xFF
    sign = words >> (bits - 1)
    return ((exponent << (bits - 8)) | (sign << (bits - 9)) | mantissa).astype(words.dtype)


def swap_sign_back(words):
    bits = 8 * words.dtype.itemsize
    mantissa = words & ((1 << (bits - 9)) - 1)
    exponent = words >> (bits - 8)
    sign = (words >> (bits - 9)) & 1
    return ((sign << (bits - 1)) | (exponent << (bits - 9)) | mantissa).astype(words.dtype)


def differing_bits(a: bytes, b: bytes) -> int:
    return sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))


def sample_runs(count, runs, run_length):
    if count <= runs * run_length:
        return [(0, count)] if count else []
    starts = [(k * (count - run_length)) // (runs - 1) for k in range(runs)]
    return [(start, start + run_length) for start in starts]


def boundaries(data: bytes, smallest: int, average: int, largest: int, gear) -> list[int]:
    """All chunk ends, the last included."""
    gear = [int(word) for word in gear]
    bits = average.bit_length() - 1
    strict, lax = (((1 << b) - 1) << (64 - b) for b in (bits + 2, bits - 2))
    ends, start = [], 0
    while start < len(data):
        end, state = min(start + smallest, len(data)), 0
        while end < len(data) and end - start < largest:
            mask = strict if end - start < average else lax
            state = ((state << 1) + gear[data[end]]) & ((1 << 64) - 1)
            end += 1
            if state & mask == 0:
                break
        ends.append(end)
        start = end
    return ends
