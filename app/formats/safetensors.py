"""The safetensors header, read strictly: any doubt about it and the file is opaque bytes.

Source: the format section of the safetensors README and ``safetensors/src/tensor.rs`` 0.8. The
library is laxer than its text (duplicate names, leading whitespace, extra fields), so two loaders
can see two different sets of tensors in one file; what could be read in two ways is doubted here.
"""

import json
import re
from typing import Any, NoReturn

from app.formats.segments import (
    DTYPE_LENGTH,
    EXTENT,
    RANK,
    Doubt,
    FileSegment,
    HeaderLimits,
    Layout,
    check_name,
    shown,
)

PREFIX_NBYTES = 8
"""The header's length, u64 little-endian, stands in front of it."""

DTYPE_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
}
"""Bits per element. A dtype that is not listed keeps its bytes, known by offsets alone."""

_OPENING = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*["}]')
_DTYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TEXT = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))
_FIELDS = {"dtype", "shape", "data_offsets"}


def looks_like(prefix: bytes) -> bool:
    """Whether the first bytes are a binary length followed by the opening of a JSON object."""
    return _OPENING.match(prefix, PREFIX_NBYTES) is not None and not _TEXT.issuperset(
        prefix[:PREFIX_NBYTES]
    )


def header_extent(prefix: bytes, file_nbytes: int, limits: HeaderLimits) -> int:
    """Bytes from the start of the file to the first tensor byte; Doubt if that cannot be."""
    nbytes = int.from_bytes(prefix[:PREFIX_NBYTES], "little")
    if nbytes < 2:
        raise Doubt(f"its header length is {nbytes}")
    if nbytes > file_nbytes - PREFIX_NBYTES:
        raise Doubt(f"its header of {nbytes} bytes does not fit into the file of {file_nbytes}")
    if nbytes > limits.header_nbytes:
        raise Doubt(
            f"its header of {nbytes} bytes is longer than {limits.header_nbytes}"
            " (limits.header_nbytes)"
        )
    return PREFIX_NBYTES + nbytes


def parse(prefix: bytes, file_nbytes: int, limits: HeaderLimits) -> Layout:
    """Layout of a file whose first bytes, at least the whole header, are ``prefix``.

    Raises :class:`Doubt`.
    """
    data_start = header_extent(prefix, file_nbytes, limits)
    header = _load(prefix[PREFIX_NBYTES:data_start])
    _check_metadata(header.pop("__metadata__", {}))
    if len(header) > limits.tensors:
        raise Doubt(
            f"it names {len(header)} tensors, more than {limits.tensors} (limits.tensors_per_file)"
        )
    tensors = sorted(
        (_tensor(name, info) for name, info in header.items()), key=lambda tensor: tensor[:2]
    )
    segments = [FileSegment(0, data_start, "literal")]
    position = 0
    for start, stop, name, dtype, shape in tensors:
        if start != position:
            what = "leaves a hole before" if start > position else "overlaps the bytes before"
            raise Doubt(f"tensor {shown(name)} {what} it, at {start} instead of {position}")
        if stop > start:
            segments.append(
                FileSegment(data_start + start, stop - start, "tensor", name, dtype, shape)
            )
        position = stop
    trailing = file_nbytes - data_start - position
    if trailing > 0:
        raise Doubt(f"{trailing} trailing bytes follow the last tensor")
    if trailing < 0:
        raise Doubt(f"its tensors reach {-trailing} bytes beyond the end of the file")
    return Layout("safetensors", tuple(segments))


def _load(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise Doubt("its header does not begin with '{'")
    try:
        parsed = json.loads(
            header.decode(),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise Doubt(f"its header is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Doubt(f"its header is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Doubt("its header nests too deep") from None
    if not isinstance(parsed, dict):
        raise Doubt("its header is not a JSON object")
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Doubt(f"its header has the key {shown(twice)} twice")
    return result


def _constant(text: str) -> NoReturn:
    raise Doubt(f"its header holds {text}, which is not JSON")


def _float(text: str) -> NoReturn:
    raise Doubt(f"its header holds the number {shown(text)}, which is not an integer")


def _integer(text: str) -> int:
    if text[0] == "-":
        raise Doubt(f"its header holds the negative number {shown(text)}")
    if len(text) > 19 or (value := int(text)) >= EXTENT:
        raise Doubt(f"its header holds the number {shown(text)}, beyond 63 bits")
    return value


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict):
        raise Doubt("its __metadata__ is not an object")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise Doubt(f"its __metadata__ has a value that is not a string, at {shown(key)}")
        try:
            key.encode()
            value.encode()
        except UnicodeEncodeError:
            raise Doubt(f"its __metadata__ holds a lone surrogate at {shown(key)}") from None


def _tensor(name: str, info: object) -> tuple[int, int, str, str, tuple[int, ...]]:
    check_name(name)
    if not isinstance(info, dict) or info.keys() != _FIELDS:
        raise Doubt(f"tensor {shown(name)} has other fields than dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or len(dtype) > DTYPE_LENGTH or not _DTYPE_NAME.fullmatch(dtype):
        raise Doubt(f"tensor {shown(name)} has a dtype that is not a name")
    if not isinstance(shape, list) or not all(type(extent) is int for extent in shape):
        raise Doubt(f"tensor {shown(name)} has a shape that is not a list of integers")
    if len(shape) > RANK:
        raise Doubt(f"tensor {shown(name)} has {len(shape)} dimensions, more than {RANK}")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise Doubt(f"tensor {shown(name)} has data_offsets that are not a range")
    start, stop = offsets
    _check_nbytes(name, dtype, shape, stop - start)
    return start, stop, name, dtype, tuple(shape)


def _check_nbytes(name: str, dtype: str, shape: list[int], nbytes: int) -> None:
    elements = 1
    for extent in shape:
        elements *= extent
        if elements >= EXTENT:
            raise Doubt(f"tensor {shown(name)} has a shape beyond 63 bits")
    bits = DTYPE_BITS.get(dtype)
    if bits is not None and elements * bits != nbytes * 8:
        raise Doubt(f"tensor {shown(name)} of {elements} {dtype} elements is given {nbytes} bytes")
