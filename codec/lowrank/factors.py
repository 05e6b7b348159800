"""The two narrow matrices of a low-rank update, their stored form, and what they may be."""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes, byte_view
from codec.elements.dtypes import DType, layout_of
from codec.errors import CorruptFrame
from codec.limits import MAX_FACTORS_NBYTES, MAX_RANK
from codec.plane.block import pack_planes, unpack_planes

_HEADER: Final = struct.Struct("<IIHhI")
"""Rows, columns, rank, exponent, stored length of the numbers."""
_NUMBERS: Final = layout_of(DType.U16)
STRIP: Final = 64
"""Columns of the right factor that kernels take together."""
_EXPONENTS: Final = range(-126, 97)
"""Powers of two that sums are multiplied by: normal floats of 32 bits, and sums stay finite."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A matrix of ``rows`` x ``columns`` words, and the rank of what is added to it."""

    rows: int
    columns: int
    rank: int

    @property
    def numbers(self) -> int:
        """In both factors."""
        return self.rank * (self.rows + self.columns)

    def is_bounded(self, elements: int) -> bool:
        """Whether the format has such factors for a content of so many words."""
        most = min(elements, MAX_FACTORS_NBYTES // _NUMBERS.width)
        return 0 < self.rank <= MAX_RANK and self.numbers <= most


@dataclass(frozen=True, eq=False)
class Factors:
    """A product ``left @ right * 2**exponent``, which is added to the words of a base.

    Sums of the product are taken modulo 2**32; whoever makes factors keeps them below 2**31.
    ``stored`` is its stored form, header and all. Numbers are unpacked at first use: whoever only
    wants to know about a frame does without.
    """

    shape: Shape
    exponent: int
    stored: bytes

    @classmethod
    def of(cls, left: NDArray[np.int16], right: NDArray[np.int16], exponent: int) -> Self:
        """From ``left`` (rows x rank) and ``right`` (rank x columns)."""
        shape = Shape(left.shape[0], right.shape[1], right.shape[0])
        numbers = np.concatenate([left.T.reshape(-1), right.reshape(-1)]).astype(np.int32)
        folded = ((numbers << 1) ^ (numbers >> 31)).astype("<u2")
        packed = pack_planes(_NUMBERS, byte_view(folded))
        header = _HEADER.pack(shape.rows, shape.columns, shape.rank, exponent, len(packed))
        return cls(shape, exponent, header + packed)

    @classmethod
    def parse(cls, prefix: Bytes, elements: int) -> Self:
        """Those at the start of ``prefix``, of a content of so many words.

        Raises CorruptFrame for what cannot be factors, or would be larger than the content.
        """
        if prefix.size < _HEADER.size:
            raise CorruptFrame("factors are shorter than their header")
        fields = _HEADER.unpack(prefix[: _HEADER.size].tobytes())
        rows, columns, rank, exponent, nbytes = fields
        shape = Shape(rows, columns, rank)
        end = _HEADER.size + nbytes
        if prefix.size < end:
            raise CorruptFrame(f"the factors take {end} bytes, only {prefix.size} are here")
        factors = cls(shape, exponent, prefix[:end].tobytes())
        try:
            factors.check(elements)
        except ValueError as error:
            raise CorruptFrame(str(error)) from None
        return factors

    def check(self, elements: int) -> None:
        """ValueError unless they fit a content of so many words, and are not larger than it."""
        shape = self.shape
        if not shape.columns or shape.rows != -(-elements // shape.columns):
            raise ValueError(f"{shape.rows} x {shape.columns} factors do not fit {elements} words")
        if not shape.is_bounded(elements):
            raise ValueError(f"factors of rank {shape.rank} are beyond the limits of the format")
        if self.exponent not in _EXPONENTS:
            raise ValueError(f"an exponent of {self.exponent} is beyond the limits of the format")

    @property
    def held_nbytes(self) -> int:
        """Memory that they take once their numbers were asked for."""
        shape = self.shape
        pairs, strips = -(-shape.rank // 2), -(-shape.columns // STRIP)
        return len(self.stored) + 4 * pairs * (shape.rows + strips * STRIP)

    @property
    def scale(self) -> np.float32:
        """What the product is multiplied by."""
        return np.float32(np.ldexp(1.0, self.exponent))

    @property
    def matrices(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Left (rows x rank) and right (rank x columns); CorruptFrame if they are damaged."""
        shape = self.shape
        folded = np.empty(shape.numbers, "<u2")
        packed = np.frombuffer(self.stored, np.uint8)[_HEADER.size :]
        unpack_planes(_NUMBERS, packed, None, byte_view(folded))
        numbers = ((folded >> 1) ^ -(folded & 1)).view(np.int16)
        cut = shape.rank * shape.rows
        left = numbers[:cut].reshape(shape.rank, shape.rows)
        return left.T, numbers[cut:].reshape(shape.rank, shape.columns)

    @cached_property
    def pairs(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Two ranks to an element: left (rows x pairs), right (strips x pairs x STRIP)."""
        left, right = self.matrices
        shape, pairs = self.shape, -(-self.shape.rank // 2)
        strips = -(-shape.columns // STRIP)
        lefts = np.zeros((shape.rows, pairs, 2), np.int16)
        lefts.reshape(shape.rows, -1)[:, : shape.rank] = left
        rights = np.zeros((2 * pairs, strips * STRIP), np.int16)
        rights[: shape.rank, : shape.columns] = right
        parted = rights.reshape(pairs, 2, strips, STRIP).transpose(2, 0, 3, 1)
        return lefts.view(np.uint32)[..., 0], np.ascontiguousarray(parted).view(np.uint32)[..., 0]
