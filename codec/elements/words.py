"""How the words of a content, the words coded for it and those of its base relate in length."""

from dataclasses import dataclass
from typing import Final, Self

from codec.elements.dtypes import DType, Layout, dtype_of, layout_of

CASTABLE: Final = frozenset({DType.BF16, DType.F16, DType.F32})
"""A base of any of these serves a content of any other."""
NARROW: Final = (DType.BF16, DType.F16)
"""What words of F32 may turn out to be, in the order in which it is tried."""


def is_castable(source: DType, target: DType) -> bool:
    """Whether a base of ``source`` can serve words of ``target``."""
    return source is target or (source in CASTABLE and target in CASTABLE)


@dataclass(frozen=True, slots=True)
class Words:
    """The dtypes of a frame: of the content, of the words coded, and of the base if there is one.

    ``coded`` is ``content``, or for a *narrow* content what its words are when cast up exactly.
    """

    content: DType
    coded: DType
    base: DType | None

    @classmethod
    def named(cls, dtype: str, narrow: str | None = None, base_dtype: str | None = None) -> Self:
        """From names; ValueError for one that is no dtype, and if they do not go together."""
        content = dtype_of(dtype)
        coded = content if narrow is None else dtype_of(narrow)
        base = None if base_dtype is None else dtype_of(base_dtype)
        if coded is not content and not (content is DType.F32 and coded in NARROW):
            raise ValueError(f"words of {coded.name} do not make {dtype}")
        if base is not None and not is_castable(base, coded):
            raise ValueError(f"a base of {base_dtype} does not serve {coded.name}")
        return cls(content, coded, base)

    @property
    def layout(self) -> Layout:
        """That of the coded words."""
        return layout_of(self.coded)

    @property
    def content_width(self) -> int:
        """Bytes of a word of the content."""
        return layout_of(self.content).width

    @property
    def base_width(self) -> int:
        """Bytes of a word of the base; 0 without one."""
        return 0 if self.base is None else layout_of(self.base).width

    @property
    def is_narrow(self) -> bool:
        """Whether coded words are narrower than those of the content."""
        return self.coded is not self.content

    def coded_nbytes(self, raw_nbytes: int) -> int:
        """Length of what is coded for some bytes of the content."""
        if not self.is_narrow:
            return raw_nbytes
        return raw_nbytes // layout_of(self.content).width * self.layout.width

    def base_span(self, start: int, stop: int, base_nbytes: int) -> tuple[int, int]:
        """Which bytes of the base belong to bytes ``start:stop`` of the content, as far as it goes.

        ``start`` is a multiple of every word width. Of a base that must be cast only whole words.
        """
        if self.base is None:
            return 0, 0
        end = base_nbytes
        if self.is_narrow or self.base is not self.content:
            width, below = layout_of(self.content).width, layout_of(self.base).width
            start, stop = start // width * below, stop // width * below
            end -= end % below
        return min(start, end), min(stop, end)

    def common_nbytes(self, raw_nbytes: int, base_nbytes: int) -> int:
        """How many bytes of the content, from its start, the base has as well."""
        if self.base is None:
            return 0
        if not self.is_narrow and self.base is self.content:
            return min(raw_nbytes, base_nbytes)
        width, below = layout_of(self.content).width, layout_of(self.base).width
        return min(raw_nbytes // width, base_nbytes // below) * width
