"""Checksums, counts and lengths of damaged inputs made true again, so that damage gets further in.

Each takes bytes of one format, however damaged, and gives bytes whose outer layers a parser takes.
"""

import base64
import hashlib
import json
from typing import Any

import lz4.frame

from app.xet import shard, xorb
from app.xet.hashing import DigestTree, chunk_digest
from tests.fixtures.xorbs import chunk_header

DIGEST_NBYTES = 32
CHUNK_HEAD_NBYTES = 8
MAX_PLAIN_NBYTES = 1 << 20


def mend_commit(data: bytes) -> bytes:
    """One header in front, whole lines after it, base64 that is some; lines past reading go."""
    headers: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for text in data.split(b"\n"):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("value"), dict):
            (headers if line.get("key") == "header" else rest).append(line)
    for line in rest:
        content = line["value"].get("content")
        if isinstance(content, str) and not _is_base64(content):
            line["value"]["encoding"] = "utf-8"
    kept = [*(headers[:1] or [{"key": "header", "value": {"summary": "s"}}]), *rest]
    return b"\n".join(json.dumps(line).encode() for line in kept)


def _is_base64(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True) is not None
    except ValueError:
        return False


def mend_push(data: bytes) -> bytes:
    """The trailing SHA-1 of a git pack."""
    at = data.find(b"PACK")
    body = data[at:-20]
    return data[:at] + body + hashlib.sha1(body).digest() if at >= 0 else data


def mend_safetensors(data: bytes) -> bytes:
    """The length of the header."""
    end = data.rfind(b"}") + 1
    return (end - 8).to_bytes(8, "little") + data[8:] if end > 8 else data


def mend_xorb(data: bytes) -> bytes:
    """Lengths in the heads of chunks, and the digest in front; chunks that do not unpack go."""
    tree, kept, at = DigestTree(), [], DIGEST_NBYTES
    while at + CHUNK_HEAD_NBYTES <= len(data):
        stored = int.from_bytes(data[at + 1 : at + 4], "little")
        scheme = data[at + 4] % 3
        at += CHUNK_HEAD_NBYTES
        packed = data[at : at + stored]
        at += stored
        if plain := _unpacked(packed, scheme):
            kept.append(chunk_header(len(packed), scheme, len(plain)) + packed)
            tree.add(chunk_digest(plain), len(plain))
    if not kept:
        return data
    return b"".join([tree.xorb_digest(), *kept])


def _unpacked(packed: bytes, scheme: int) -> bytes:
    """Empty where there is nothing to be had."""
    if scheme == xorb.AS_IS:
        return packed
    try:
        plain = lz4.frame.LZ4FrameDecompressor().decompress(packed, MAX_PLAIN_NBYTES)
    except (RuntimeError, MemoryError):
        return b""
    if scheme == xorb.LZ4:
        return plain
    found = bytearray(len(plain))
    places = (place for first in range(4) for place in range(first, len(plain), 4))
    for place, byte in zip(places, plain, strict=True):
        found[place] = byte
    return bytes(found)


def mend_shard(data: bytes) -> bytes:
    """Head, whole records, counts that do not lead beyond the end, and both bookends."""
    size = shard.RECORD_NBYTES
    records = [data[at : at + size].ljust(size, b"\0") for at in range(size, len(data), size)]
    bookend = shard.BOOKEND + bytes(size - len(shard.BOOKEND))
    head = shard.MAGIC + shard.VERSION.to_bytes(8, "little") + bytes(8)
    files = _section(records, bookend, of_files=True)
    xorbs = _section(records, bookend, of_files=False)
    return b"".join([head, *files, *xorbs])


def _section(records: list[bytes], bookend: bytes, *, of_files: bool) -> list[bytes]:
    """Takes records from the front up to a bookend, counts of terms or chunks made true."""
    taken: list[bytes] = []
    while records and not records[0].startswith(shard.BOOKEND):
        head = records.pop(0)
        flags = int.from_bytes(head[32:36], "little")
        has_checks = of_files and bool(flags & shard.WITH_VERIFICATION)
        has_more = of_files and bool(flags & shard.WITH_METADATA)
        room = max(0, len(records) - has_more) // (1 + has_checks)
        count = min(int.from_bytes(head[36:40], "little"), room)
        if len(records) < has_more:
            records.append(bytes(shard.RECORD_NBYTES))
        taken.append(head[:36] + count.to_bytes(4, "little") + head[40:])
        rest = count * (1 + has_checks) + has_more
        taken += records[:rest]
        del records[:rest]
    del records[:1]
    return [*taken, bookend]
