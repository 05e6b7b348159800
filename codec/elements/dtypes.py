"""Element types: safetensors names, their id in a frame and how their words are cut into planes."""

from dataclasses import dataclass
from enum import IntEnum


class DType(IntEnum):
    """Safetensors dtype names; the value is the id stored in frames and never changes."""

    U8 = 1
    I8 = 2
    BOOL = 3
    U16 = 4
    I16 = 5
    U32 = 6
    I32 = 7
    U64 = 8
    I64 = 9
    F16 = 16
    BF16 = 17
    F32 = 18
    F64 = 19
    C64 = 20
    F8_E4M3 = 24
    F8_E5M2 = 25
    F8_E8M0 = 26
    F8_E4M3FNUZ = 27
    F8_E5M2FNUZ = 28
    F6_E2M3 = 29
    F6_E3M2 = 30
    F4 = 31


@dataclass(frozen=True, slots=True)
class Layout:
    """How one dtype is cut: ``width`` bytes per word, and whether PLANE isolates the exponent.

    ``mantissa`` and ``exponent`` are the numbers of bits of a float, otherwise 0; ``exponent`` is 0
    as well where CTX does not code it.
    """

    width: int
    fields: bool
    mantissa: int = 0
    exponent: int = 0

    @property
    def is_float(self) -> bool:
        """Whether a word is one float, its sign on top."""
        return self.mantissa > 0

    @property
    def bias_gap(self) -> int:
        """How much smaller the exponent bias is than that of a 32-bit float."""
        return 128 - (1 << (self.exponent - 1))

    @property
    def in_contexts(self) -> "Layout":
        """That of words as CTX takes them: those of eight bits stand in sixteen."""
        return self if self.width > 1 else Layout(2, False, self.mantissa, self.exponent)


_LAYOUTS = {
    DType.U16: Layout(2, False),
    DType.I16: Layout(2, False),
    DType.F16: Layout(2, False, 10, 5),
    DType.BF16: Layout(2, True, 7, 8),
    DType.U32: Layout(4, False),
    DType.I32: Layout(4, False),
    DType.F32: Layout(4, True, 23, 8),
    DType.C64: Layout(4, True, 23, 8),
    DType.U64: Layout(8, False),
    DType.I64: Layout(8, False),
    DType.F64: Layout(8, False, 52),
    DType.F8_E4M3: Layout(1, False, 3, 4),
    DType.F8_E5M2: Layout(1, False, 2, 5),
    DType.F8_E4M3FNUZ: Layout(1, False, 3, 4),
    DType.F8_E5M2FNUZ: Layout(1, False, 2, 5),
}
_BYTES = Layout(1, False)


def dtype_of(name: str) -> DType:
    """The dtype of a safetensors name; ValueError for a name that is none."""
    try:
        return DType[name]
    except KeyError:
        raise ValueError(
            f"unknown dtype {name!r}; known are {', '.join(DType.__members__)}"
        ) from None


def layout_of(dtype: DType) -> Layout:
    """The word layout of a dtype: everything of 8 bits or less is coded as whole bytes."""
    return _LAYOUTS.get(dtype, _BYTES)
