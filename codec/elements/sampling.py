"""Which elements of a tensor stand for all of them: runs at even distances, first to last."""

import numpy as np

from codec.buffers import Bytes


def sample_runs(count: int, runs: int, run_length: int) -> list[tuple[int, int]]:
    """``runs`` disjoint element ranges of ``run_length`` spread over ``count`` elements.

    The first begins at element 0 and the last ends at ``count``; all elements are one run when
    there are no more than the sample would take.
    """
    if count <= runs * run_length:
        return [(0, count)] if count else []
    room = count - run_length
    starts = (k * room // (runs - 1) for k in range(runs))
    return [(start, start + run_length) for start in starts]


def gather(data: Bytes, runs: list[tuple[int, int]], width: int) -> Bytes:
    """The sampled elements of ``width`` bytes, one after the other."""
    if len(runs) == 1:
        return data[runs[0][0] * width : runs[0][1] * width]
    parts = [data[start * width : stop * width] for start, stop in runs]
    return np.concatenate(parts) if parts else data[:0]
