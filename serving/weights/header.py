"""What a safetensors header says: which tensor lies where in its file."""

import json
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class BadCheckpoint(Exception):
    """The repository holds no weights that can be loaded; the message says why."""


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """A tensor of a file. ``start`` and ``stop`` are bytes of the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def parse_header(head: bytes, file_nbytes: int) -> list[TensorSlot]:
    """The tensors of a safetensors file from its first bytes, header included.

    Raises BadCheckpoint for a header that makes no sense.
    """
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 + length:
        raise BadCheckpoint("the safetensors header is cut off")
    try:
        entries: dict[str, Any] = json.loads(head[8 : 8 + length])
        slots = [
            _slot(name, entry, 8 + length)
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"the safetensors header makes no sense: {error!r}") from error
    if any(slot.stop > file_nbytes for slot in slots):
        raise BadCheckpoint("the safetensors header points beyond its file")
    return slots


def _slot(name: str, entry: dict[str, Any], data: int) -> TensorSlot:
    dtype, shape = DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
    start, stop = (data + int(offset) for offset in entry["data_offsets"])
    if min(*shape, 0) < 0 or stop - start != torch.Size(shape).numel() * dtype.itemsize:
        raise ValueError(f"{name} is not as long as its shape says")
    return TensorSlot(name, dtype, shape, start, stop)
