"""Traces by path or by the name of one that comes along."""

import gzip
from importlib import resources
from pathlib import Path

from serving.sim.arrivals import Arrival
from serving.sim.traces import parse_trace

BUNDLED = {
    "azure-code": "azure_code.csv.gz",
    "mooncake-conversation": "mooncake_conversation.jsonl.gz",
}


class NoSuchTrace(ValueError):
    """Neither a file nor a name that is known."""


def read_trace(name: str) -> list[Arrival]:
    """The arrivals of a file (``.gz`` is unpacked) or of a bundled trace.

    Raises:
        NoSuchTrace, BadTrace, OSError: there is none, or it cannot be read.
    """
    if name in BUNDLED:
        packed = resources.files("serving.traces").joinpath(BUNDLED[name]).read_bytes()
        return parse_trace(gzip.decompress(packed).decode().splitlines())
    path = Path(name)
    if not path.is_file():
        raise NoSuchTrace(f"{name}: no such file; traces that come along: {', '.join(BUNDLED)}")
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as packed_lines:
            return parse_trace(packed_lines)
    with path.open(encoding="utf-8") as lines:
        return parse_trace(lines)
