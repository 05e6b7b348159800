"""What the parsers say about a file: its segments, that they need more of it, or why they doubt."""

from dataclasses import dataclass
from typing import Literal

TENSOR_NAME_NBYTES = 1024
"""Longest tensor name, UTF-8 bytes; beyond it the file is opaque."""

RANK = 16
"""Most dimensions of a tensor; beyond it the file is opaque."""

DTYPE_LENGTH = 16
"""Longest dtype name, characters."""

EXTENT = 1 << 63
"""Products of dimensions stay below this."""

Format = Literal["safetensors", "gguf", "opaque"]


class Doubt(Exception):
    """The bytes leave room for doubt, so nothing is interpreted. ``fault`` is shown to the user."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class FileSegment:
    """A run of a file: a tensor with its name, dtype and shape, a chunk, or literal bytes."""

    start: int
    nbytes: int
    role: Literal["tensor", "chunk", "literal"]
    name: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    """Row-major: slowest dimension first, in every format."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is taken apart.

    ``segments`` are contiguous, never empty and cover the file, except for ``opaque``, where there
    are none: the ingest cuts such a file itself. ``warning`` says why a file that looks like a
    known format is not treated as one.
    """

    format: Format
    segments: tuple[FileSegment, ...] = ()
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The first ``nbytes`` of the file decide; ask again with at least as many."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """The bounds a header parser works within; plain values, so that a child process has them."""

    header_nbytes: int
    tensors: int


def shown(name: str) -> str:
    """A name out of a hostile file, safe to print and to store: ASCII, at most 80 characters."""
    text = ascii(name)
    return text if len(text) <= 80 else text[:77] + "..."


def check_name(name: str) -> None:
    """Raise :class:`Doubt` for a tensor name that some reader would see differently."""
    try:
        nbytes = len(name.encode())
    except UnicodeEncodeError:
        raise Doubt(f"tensor name {shown(name)} holds a lone surrogate") from None
    if nbytes > TENSOR_NAME_NBYTES:
        raise Doubt(f"tensor name {shown(name)} is longer than {TENSOR_NAME_NBYTES} bytes")
    if "\0" in name:
        raise Doubt(f"tensor name {shown(name)} holds a NUL")
