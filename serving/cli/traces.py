"""Traces by path or by the name of one that comes along."""

import gzip
import lzma
from importlib import resources
from pathlib import Path

from serving.sim.arrivals import Arrival
from serving.sim.traces import parse_trace

BUNDLED = {
    "azure-code": "azure_code.csv.gz",
    "mooncake-conversation": "mooncake_conversation.jsonl.xz",
}


class NoSuchTrace(ValueError):
    """Neither a file nor a name that is known."""


def read_trace(name: str) -> list[Arrival]:
    """The arrivals of a file (``.gz`` and ``.xz`` are unpacked) or of a bundled trace.

    Raises:
        NoSuchTrace, BadTrace, OSError: there is none, or it cannot be read.
    """
    if name in BUNDLED:
        packed = resources.files("serving.traces").joinpath(BUNDLED[name])
        with resources.as_file(packed) as path:
            return _read(path)
    path = Path(name)
    if not path.is_file():
        raise NoSuchTrace(f"{name}: no such file; traces that come along: {', '.join(BUNDLED)}")
    return _read(path)


def _read(path: Path) -> list[Arrival]:
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "rt", encoding="utf-8") as lines:
        return parse_trace(lines)
