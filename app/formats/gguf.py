"""The GGUF header: metadata walked within bounds, tensors found, anything odd doubted.

Source: the GGUF specification of ggml (``docs/gguf.md``), versions 2 and 3 little-endian, and the
checks of llama.cpp's ``gguf.cpp``. Metadata values are stepped over, never kept, but for the
alignment.
"""

import struct
from dataclasses import dataclass

from app.formats.ggml import GGML_TYPES
from app.formats.segments import (
    EXTENT,
    Doubt,
    FileSegment,
    HeaderLimits,
    Layout,
    NeedMore,
    check_name,
    shown,
)

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
DIMENSIONS = 4
"""GGML_MAX_DIMS."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_SCALAR_NBYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def parse(prefix: bytes, file_nbytes: int, limits: HeaderLimits) -> Layout | NeedMore:
    """Layout of a GGUF file, or how much of it is needed. Raises :class:`Doubt`."""
    walk = _Walk(prefix, min(file_nbytes, limits.header_nbytes), file_nbytes)
    try:
        alignment, tensors = _walk_header(walk, limits)
    except _Short as short:
        return NeedMore(min(max(short.stop, 4 * len(prefix)), walk.bound))
    return Layout("gguf", _segments(walk.position, alignment, tensors, file_nbytes))


class _Short(Exception):
    """The prefix ends before ``stop``."""

    def __init__(self, stop: int) -> None:
        super().__init__(stop)
        self.stop = stop


@dataclass(frozen=True, slots=True)
class _Tensor:
    offset: int
    nbytes: int
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Walk:
    """A position in the header that moves forward only, never beyond ``bound``."""

    def __init__(self, prefix: bytes, bound: int, file_nbytes: int) -> None:
        self._prefix = prefix
        self.bound = bound
        self._file_nbytes = file_nbytes
        self.position = len(MAGIC)

    def skip(self, nbytes: int) -> int:
        """Step over ``nbytes``; returns where they begin."""
        start = self.position
        stop = self.expect(nbytes)
        if stop > len(self._prefix):
            raise _Short(stop)
        self.position = stop
        return start

    def expect(self, nbytes: int) -> int:
        """Doubt if ``nbytes`` more could not be there at all; returns where they would end."""
        stop = self.position + nbytes
        if stop > self._file_nbytes:
            raise Doubt("its header reaches beyond the end of the file")
        if stop > self.bound:
            raise Doubt(f"its header is longer than {self.bound} bytes (limits.header_nbytes)")
        return stop

    def u32(self) -> int:
        return _U32.unpack_from(self._prefix, self.skip(4))[0]

    def u64(self) -> int:
        return _U64.unpack_from(self._prefix, self.skip(8))[0]

    def string(self) -> bytes:
        start = self.skip(self.u64())
        return self._prefix[start : self.position]

    def skip_strings(self, count: int) -> None:
        """Step over ``count`` strings; the hot loop of a tokenizer's vocabulary."""
        prefix, last, length_at = self._prefix, len(self._prefix) - 8, _U64.unpack_from
        position = self.position
        missing = 0
        for _ in range(count):
            if position > last:
                missing = 8
                break
            position += 8 + length_at(prefix, position)[0]
        self.skip(position + missing - self.position)


def _walk_header(walk: _Walk, limits: HeaderLimits) -> tuple[int, list[_Tensor]]:
    version = walk.u32()
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        raise Doubt("it is big-endian" if swapped in VERSIONS else f"its GGUF version is {version}")
    tensor_count, pair_count = walk.u64(), walk.u64()
    if tensor_count > limits.tensors:
        raise Doubt(
            f"it names {tensor_count} tensors, more than {limits.tensors} (limits.tensors_per_file)"
        )
    walk.expect(13 * pair_count + 24 * tensor_count)
    alignment = _walk_metadata(walk, pair_count)
    tensors = [_read_tensor(walk, alignment) for _ in range(tensor_count)]
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise Doubt("it has two tensors of one name")
    return alignment, tensors


def _walk_metadata(walk: _Walk, pair_count: int) -> int:
    alignment = DEFAULT_ALIGNMENT
    keys: set[bytes] = set()
    for _ in range(pair_count):
        key = walk.string()
        if key in keys:
            raise Doubt(f"its metadata has the key {shown(key.decode(errors='replace'))} twice")
        keys.add(key)
        kind = walk.u32()
        if key == b"general.alignment":
            if kind != _UINT32:
                raise Doubt("its general.alignment is not a uint32")
            alignment = walk.u32()
            if alignment < 8 or alignment & (alignment - 1):
                raise Doubt(f"its general.alignment is {alignment}")
        else:
            _skip_value(walk, kind)
    return alignment


def _skip_value(walk: _Walk, kind: int) -> None:
    if kind == _STRING:
        walk.string()
    elif kind == _ARRAY:
        of, count = walk.u32(), walk.u64()
        if of == _STRING:
            walk.expect(8 * count)
            walk.skip_strings(count)
        elif of in _SCALAR_NBYTES:
            walk.skip(_SCALAR_NBYTES[of] * count)
        else:
            raise Doubt(f"its metadata has an array of value type {of}")
    elif kind in _SCALAR_NBYTES:
        walk.skip(_SCALAR_NBYTES[kind])
    else:
        raise Doubt(f"its metadata has a value of type {kind}")


def _read_tensor(walk: _Walk, alignment: int) -> _Tensor:
    try:
        name = walk.string().decode()
    except UnicodeDecodeError:
        raise Doubt("it has a tensor name that is not UTF-8") from None
    check_name(name)
    rank = walk.u32()
    if rank > DIMENSIONS:
        raise Doubt(f"tensor {shown(name)} has {rank} dimensions, more than {DIMENSIONS}")
    extents = [walk.u64() for _ in range(rank)]
    number, offset = walk.u32(), walk.u64()
    if number not in GGML_TYPES:
        raise Doubt(f"tensor {shown(name)} has the unknown ggml type {number}")
    dtype, block, block_nbytes = GGML_TYPES[number]
    elements = 1
    for extent in extents:
        elements *= extent
        if elements >= EXTENT:
            raise Doubt(f"tensor {shown(name)} has a shape beyond 63 bits")
    if (extents[0] if extents else 1) % block:
        raise Doubt(f"tensor {shown(name)} has rows that are not whole blocks of {dtype}")
    if offset % alignment:
        raise Doubt(f"tensor {shown(name)} is not aligned to {alignment} bytes")
    nbytes = elements // block * block_nbytes
    return _Tensor(offset, nbytes, name, dtype, tuple(reversed(extents)))


def _segments(
    header_nbytes: int, alignment: int, tensors: list[_Tensor], file_nbytes: int
) -> tuple[FileSegment, ...]:
    """Tensors as segments, what lies between them as literals shorter than the alignment."""
    data_start = header_nbytes + -header_nbytes % alignment
    segments: list[FileSegment] = []
    literal_start, stop = 0, header_nbytes
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.nbytes == 0:
            continue
        start = data_start + tensor.offset
        if start < stop:
            raise Doubt(f"tensor {shown(tensor.name)} overlaps the bytes before it")
        if start - stop >= alignment:
            raise Doubt(f"tensor {shown(tensor.name)} leaves a hole of {start - stop} bytes")
        if start > literal_start:
            segments.append(FileSegment(literal_start, start - literal_start, "literal"))
        literal_start = stop = start + tensor.nbytes
        if stop > file_nbytes:
            raise Doubt(f"tensor {shown(tensor.name)} reaches beyond the end of the file")
        segments.append(
            FileSegment(start, tensor.nbytes, "tensor", tensor.name, tensor.dtype, tensor.shape)
        )
    if file_nbytes - stop >= alignment:
        raise Doubt(f"{file_nbytes - stop} trailing bytes follow the last tensor")
    if file_nbytes > literal_start:
        segments.append(FileSegment(literal_start, file_nbytes - literal_start, "literal"))
    return tuple(segments)
