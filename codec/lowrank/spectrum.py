"""The strongest directions in which a matrix has moved from its base, found in two passes.

An update of a fine-tune is close to a matrix of low rank: exactly so where a LoRA was merged (Hu et
al., "LoRA", 2021), nearly elsewhere. The method is the randomised range finder with one power
iteration (Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, §4.5), begun not
from noise but from the directions of some sampled rows, and fed with some rows at a time.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from codec.limits import MAX_RANK
from codec.lowrank.factors import Factors, Shape

Matrix = NDArray[np.floating[Any]]

RANKS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, MAX_RANK)
"""Those tried; LoRAs have powers of two."""
NUMBER_BITS: Final = 6.0
"""What a number of a factor takes, roughly."""
DECODING_BITS: Final = 1 / 128
"""What a rank costs those who decode, as bits of each element: the sums for it take a core 2 us a
MiB of BF16, in which 256 MB/s, an object store's answer to one reader, bring so many bits."""
_ROOM: Final = 8
"""Directions looked for beyond the rank that seems best."""
_MOST: Final = 32767
_LARGEST_SUM: Final = 2.0**30
"""Of rounded numbers; half of what there is room for, since rounding makes some larger."""
_PIECE: Final = 1 << 20
"""Elements of an update that are in memory at once."""
_MOST_NUMBERS: Final = 1 << 22
"""Of the directions of rows and columns, which are in memory some times over."""

_one_blas_thread: Final = threadpool_limits.wrap(limits=1, user_api="blas")
"""Several contents are looked at side by side, and BLAS' own threads would spin in between."""

Rows = Callable[[int, int], Matrix]
"""Rows from one to another of an update, finite. Doubles if words have 32 bits: a millionth may be
left of such an update when its strongest directions are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """Sampled rows of an update: their directions, strongest first, and what a rank would save."""

    directions: Matrix
    saved: dict[int, float]
    """Bits an element by rank, after its own numbers; a rank that saves nothing is left out."""

    @classmethod
    @_one_blas_thread
    def of(cls, rows: Matrix, total_rows: int) -> Self:
        """``rows`` are (samples x columns), all over an update of ``total_rows``."""
        samples, columns = rows.shape
        lightly = rows.astype(np.float32)
        energies, vectors = np.linalg.eigh((lightly @ lightly.T).astype(np.float64))
        energies, vectors = np.maximum(energies[::-1], 0.0), vectors[:, ::-1]
        seen = int(np.count_nonzero(energies > energies[0] * 1e-12)) if energies[0] > 0 else 0
        saved = savings(energies, float(energies.sum()), total_rows, columns, samples)
        best = max(saved, key=lambda rank: saved[rank], default=0)
        wanted = min(seen, best + _ROOM, _MOST_NUMBERS // (total_rows + columns))
        directions = rows.T @ (vectors[:, :wanted] / np.sqrt(energies[:wanted]))
        return cls(directions, saved)


def savings(
    energies: Matrix, total: float, rows: int, columns: int, samples: int | None = None
) -> dict[int, float]:
    """What ranks save in bits an element, less DECODING_BITS, if noise takes its logarithm.

    Of some ``samples`` of the rows, each direction takes noise with it that it does not take from
    the others.
    """
    found: dict[int, float] = {}
    told = np.cumsum(energies)
    for rank in RANKS:
        if rank > energies.size or rank >= min(rows, columns, samples or rows):
            break
        left = max(1 - told[rank - 1] / total, 1e-12) if total > 0 else 1.0
        if samples is not None and samples < rows:
            left = min(1.0, left * samples / (samples - rank))
        taken = NUMBER_BITS * (rows + columns) / (rows * columns) + DECODING_BITS
        bits = -math.log2(left) / 2 - taken * rank
        if bits > 0:
            found[rank] = bits
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """An update as ``left @ right``, columns of ``left`` from the strongest on, and what is left.

    ``left`` is (rows x directions), ``right`` (directions x columns); both have the root of the
    singular values. ``energy`` is the sum of squares of the update, ``energies`` those that the
    directions tell.
    """

    left: Matrix
    right: Matrix
    energy: float
    energies: Matrix

    @classmethod
    @_one_blas_thread
    def of(cls, read: Rows, rows: int, glance: Glance) -> Self:
        """In two passes over the update, in pieces of at most a million elements."""
        columns, wanted = glance.directions.shape
        step = max(1, _PIECE // columns)
        reach = np.zeros((columns, wanted))
        energy = 0.0
        for piece in _pieces(read, rows, step):
            reach += piece.T @ (piece @ glance.directions.astype(piece.dtype))
            energy += float(np.einsum("ij,ij->i", piece, piece).sum(dtype=np.float64))
        basis = np.linalg.qr(reach)[0]
        seen = np.concatenate(
            [piece @ basis.astype(piece.dtype) for piece in _pieces(read, rows, step)]
        )
        left, values, turned = np.linalg.svd(seen.astype(np.float64), full_matrices=False)
        roots = np.sqrt(values)
        return cls(left * roots, (turned * roots[:, None]) @ basis.T, energy, values**2)

    def likely(self, most: int) -> list[int]:
        """The ranks that save most, at most so many, the best first."""
        saved = savings(self.energies, self.energy, self.left.shape[0], self.right.shape[1])
        return sorted(saved, key=lambda rank: -saved[rank])[:most]

    def factors(self, rank: int, fineness: float, rows: int) -> Factors:
        """Those of a rank, rounded so that the product errs by ``fineness`` of what is left.

        Errors are those of the root of the mean square. They are for a content of so many ``rows``,
        of which those that the update lacks do not move.
        """
        left, right = self.left[:, :rank], self.right[:rank]
        shape = Shape(left.shape[0], right.shape[1], rank)
        rest = max(self.energy - float(self.energies[:rank].sum()), self.energy * 1e-15)
        error = fineness * math.sqrt(rest / (shape.rows * shape.columns))
        # Factors are scaled so that the numbers of both are as large.
        balance = (shape.columns / shape.rows) ** 0.25
        left, right = left / balance, right * balance
        row = float((left**2).sum() / shape.rows)
        exponent = math.floor(2 * math.log2(error * math.sqrt(6 / row)))
        largest = max(float(np.abs(left).max()), float(np.abs(right).max()))
        exponent = max(exponent, math.ceil(2 * math.log2(largest / _MOST)))
        # No element of a product is larger than its row and its column are long together.
        longest = float(np.linalg.norm(left, axis=1).max() * np.linalg.norm(right, axis=0).max())
        exponent = max(exponent, math.ceil(math.log2(longest / _LARGEST_SUM)))
        step = 2.0 ** (exponent / 2)
        numbers = np.zeros((rows, rank), np.int16)
        numbers[: shape.rows] = np.rint(left / step)
        return Factors.of(numbers, np.rint(right / step).astype(np.int16), exponent)


def _pieces(read: Rows, rows: int, step: int) -> Iterator[Matrix]:
    for first in range(0, rows, step):
        yield read(first, min(first + step, rows))
