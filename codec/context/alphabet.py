"""The symbols of CTX: which differences each stands for, what follows it raw, how tables name it.

Two are in use. By length: a symbol is the top byte of a difference and how many bytes follow raw.
By sign, for words of 16 bits: differences are taken away from zero, as if the base were positive,
and those of seven bits and more name the sign and all but the lowest seven bits of the magnitude.
The sign is worth that: a word moved by as much as it is large rarely moved towards zero, where
places lie denser.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.elements.dtypes import Layout

STRIDE: Final = 1024
"""Cells of a context: no alphabet has more symbols."""
_EXACT: Final = 256
"""Symbols that stand for one difference each come first, as many in every alphabet."""
_BY_CLASS: Final = 512
"""Bit of a table entry's symbol, in words of 16 bits, that says that a raw byte follows."""
MARK: Final = 2
"""What that bit leaves in the lowest byte of a difference; raw bytes are stored without it."""


STILL: Final = 128
"""What is added to a step of :func:`values`, so that none is negative."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The symbols for words of ``width`` bytes; the last one says that the whole word is raw."""

    width: int
    has_signs: bool

    @property
    def symbols(self) -> int:
        """How many there are."""
        return 3 * _EXACT if self.has_signs else _EXACT * self.width

    @property
    def turn(self) -> np.uint16:
        """What of a base word of 16 bits is flipped, in it and in its target."""
        return np.uint16(0x8000 if self.has_signs else 0)

    @property
    def tiers(self) -> list[slice]:
        """Runs of symbols such that one without a slot is folded into a later run."""
        last = self.symbols - 1
        starts = range(0, 2 * _EXACT if self.has_signs else last, _EXACT)
        stops = [*starts[1:], last]
        return [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]


def written(layout: Layout) -> Alphabet:
    """The alphabet that words of a layout are written in."""
    width = layout.in_contexts.width
    return Alphabet(width, width == 2)


@lru_cache(maxsize=4)
def onward(alphabet: Alphabet) -> NDArray[Any]:
    """For every symbol the one that stands for its differences too, with more of them raw."""
    last = alphabet.symbols - 1
    symbols = np.arange(alphabet.symbols)
    if alphabet.has_signs:
        return np.where(symbols < _EXACT, _EXACT + symbols % 2, last)
    return np.minimum((symbols // _EXACT + 1) * _EXACT, last)


@lru_cache(maxsize=4)
def raw_bits(alphabet: Alphabet) -> NDArray[Any]:
    """Bits that follow each symbol raw."""
    symbols = np.arange(alphabet.symbols)
    bits = 7 * (symbols >= _EXACT) if alphabet.has_signs else 8 * (symbols // _EXACT)
    bits[-1] = 8 * alphabet.width
    return bits


@lru_cache(maxsize=4)
def entries(alphabet: Alphabet) -> NDArray[np.uint16]:
    """What the ten bits of a table entry say for each symbol.

    In words of 16 bits: 512, 256 times the lowest bit of the difference if that is part of the
    symbol, and its upper byte, so that changing places of the two bytes makes the difference but
    for the raw byte and MARK; 1,023 for the last. In those of 32 bits the symbol.
    """
    symbols = np.arange(alphabet.symbols, dtype=np.uint16)
    if alphabet.width > 2:
        return symbols
    far = symbols[_EXACT:] - np.uint16(_EXACT)
    symbols[_EXACT:] = _BY_CLASS | (far >> 1 | (far & 1) << 8 if alphabet.has_signs else far)
    symbols[-1] = 2 * _BY_CLASS - 1
    return symbols


@lru_cache(maxsize=4)
def values(alphabet: Alphabet) -> NDArray[np.uint16]:
    """What stands for each symbol where an entry has 16 bits for it.

    As :func:`entries`; but a symbol of words of 16 bits that stands for one difference is the step
    that this is the zigzag of, and STILL.
    """
    symbols = entries(alphabet).copy()
    if alphabet.width == 2:
        z = np.arange(_EXACT)
        symbols[:_EXACT] = ((z >> 1) ^ -(z & 1)) + STILL
    return symbols
