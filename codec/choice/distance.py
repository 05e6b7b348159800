"""Bit distance: how many bits two tensors of one shape differ in, per element (ZipLLM, §4)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Buffer, Bytes, byte_view
from codec.elements.dtypes import dtype_of, layout_of
from codec.elements.sampling import gather, sample_runs
from codec.scratch import SCRATCH

_RUNS = 64
GROUP = 256
"""Elements that are chosen together: those that share a scale in CTX."""


def bit_distance(a: Buffer, b: Buffer, *, dtype: str, sample: int | None = None) -> float:
    """Differing bits per element, over all elements or over ``sample`` of them in 64 runs.

    0.0 for empty tensors. Raises ValueError if the two differ in length.
    """
    width = layout_of(dtype_of(dtype)).width
    first, second = byte_view(a), byte_view(b)
    if first.size != second.size:
        raise ValueError(f"tensors of {first.size} and {second.size} bytes have no bit distance")
    if sample is not None:
        runs = sample_runs(first.size // width, _RUNS, max(1, sample // _RUNS))
        first, second = gather(first, runs, width), gather(second, runs, width)
    if not first.size:
        return 0.0
    return differing_bits(first, second) * width / first.size


def differing_bits(a: Bytes, b: Bytes) -> int:
    """Number of bits in which two byte arrays of one length differ."""
    from codec.choice import distance_kernels

    whole = a.size - a.size % 8
    total = int(distance_kernels.differing_bits(_words(a[:whole], "a"), _words(b[:whole], "b")))
    return total + int(np.bitwise_count(a[whole:] ^ b[whole:]).sum())


@dataclass(frozen=True, slots=True)
class AlikeGroups:
    """Groups of 256 elements, as ranges of those, that stand for others they are like."""

    all: list[tuple[int, int]]
    """Those that stand for all groups."""
    moved: list[tuple[int, int]]
    """Those that stand for the groups in which bits differ."""
    moved_share: float
    """How much of all groups those are."""


def alike_groups(pairs: Iterable[tuple[Bytes, Bytes]], width: int, count: int) -> AlikeGroups:
    """``count`` groups that stand for all, and as many for those that differ.

    They are evenly spaced in the order of how many bits of a group differ: rows of a matrix may
    have moved by more or less, and every such row is likely to have its like among them. ``pairs``
    are consecutive parts of two tensors, whole groups but for the last.
    """
    from codec.choice import distance_kernels

    nbytes = GROUP * width
    counts: list[NDArray[np.uint32]] = []
    for a, b in pairs:
        whole = a.size - a.size % nbytes
        bits = np.empty(whole // nbytes, np.uint32)
        distance_kernels.differing_bits_of(_words(a[:whole], "a"), _words(b[:whole], "b"), bits)
        counts.append(bits)
    differing = np.concatenate(counts).clip(max=0xFFFF).astype(np.uint16)
    order = np.argsort(differing, kind="stable")
    moved = order[order.size - np.count_nonzero(differing) :]
    return AlikeGroups(_spaced(order, count), _spaced(moved, count), moved.size / order.size)


def _spaced(order: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """``count`` groups of an order at even distances, from the first group to the last."""
    places = ((np.arange(count) + 0.5) * (order.size / count)).astype(np.int64)
    chosen = np.sort(order[np.unique(places)]) if order.size else order
    return [(int(group) * GROUP, (int(group) + 1) * GROUP) for group in chosen]


def _words(data: Bytes, purpose: str) -> NDArray[np.uint64]:
    """Eight bytes at a time; copied to scratch only where they are not aligned."""
    words = data.view(np.uint64)
    if words.flags.aligned:
        return words
    aligned = SCRATCH.buffer(f"words {purpose}", data.size)
    aligned[:] = data
    return aligned.view(np.uint64)
