"""The words of a base, moved by a low-rank product."""

from dataclasses import dataclass, replace
from typing import Any, Final

from codec.buffers import Bytes, Source, read_range
from codec.elements.casts import cast_base, words_in
from codec.elements.dtypes import DType
from codec.elements.words import Words
from codec.lowrank.factors import STRIP, Factors
from codec.scratch import SCRATCH

SHIFTED: Final = frozenset({DType.BF16, DType.F16, DType.F32})
"""Dtypes of words that a product can be added to."""


def shifted(factors: Factors | None, coded: DType, base: Bytes, first: int) -> Bytes:
    """Whole words of a base moved, those from number ``first`` of the content on; in scratch.

    Without factors the bytes as they are.
    """
    if factors is None:
        return base
    from codec.lowrank import shift_kernels

    kernels: dict[DType, Any] = {
        DType.BF16: shift_kernels.move_brain,
        DType.F16: shift_kernels.move_half,
        DType.F32: shift_kernels.move_single,
    }
    words = words_in(base, coded)
    moved = SCRATCH.buffer("moved", words.nbytes)
    kernels[coded](
        *factors.pairs,
        factors.shape.columns,
        first,
        factors.scale,
        words,
        SCRATCH.buffer("spare", STRIP * words.itemsize).view(words.dtype),
        moved.view(words.dtype),
    )
    return moved


def moved_base(words: Words, factors: Factors | None, base: Bytes, start: int) -> Bytes:
    """Bytes of a base as coded words that have moved; ``start`` is their byte of the content."""
    below = cast_base(words, base)
    if factors is None:
        return below
    return shifted(factors, words.coded, below, start // words.content_width)


@dataclass(frozen=True, slots=True)
class MovedBase:
    """A base that has moved, as bytes of the coded dtype; made when it is read.

    ``source`` is the base itself, of ``source_nbytes``; ``read`` takes ranges of whole words.
    """

    source: Source
    source_nbytes: int
    before: Words
    factors: Factors

    @property
    def words(self) -> Words:
        """Dtypes of a frame over this base."""
        return replace(self.before, base=self.before.coded)

    @property
    def nbytes(self) -> int:
        """Its length."""
        return self.source_nbytes // self.before.base_width * self.before.layout.width

    def read(self, start: int, stop: int) -> Bytes:
        """Bytes from one to another."""
        width, below = self.before.layout.width, self.before.base_width
        first = start // width
        part = read_range(self.source, first * below, stop // width * below)
        moved = shifted(self.factors, self.before.coded, cast_base(self.before, part), first)
        return moved.copy()
