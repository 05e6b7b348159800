"""Digests: who a tensor or a file is.

A file is its SHA-256 (the Hub's own word for it); a tensor, chunk or literal is the BLAKE3-256 of
its raw bytes. In the database a content id carries its algorithm as the multihash code in front of
the digest (0x1e BLAKE3), in text as ``blake3:<hex>``.
"""

from blake3 import blake3

BLAKE3_CODE = 0x1E
"""Multihash code of BLAKE3 (multiformats table)."""

CHECK_BYTES = 16
"""Length of one piece check: BLAKE3 truncated to 128 bits."""

PIECE_BYTES = 1 << 20
"""Stored bytes are checked in pieces of this size, counted from the start of an encoding."""


def content_id(blake3_digest: bytes) -> bytes:
    """Content id of a raw 32-byte BLAKE3 digest: 33 bytes, algorithm first."""
    return bytes([BLAKE3_CODE]) + blake3_digest


def content_id_of(data: bytes | bytearray | memoryview) -> bytes:
    """Content id of a buffer."""
    return content_id(blake3(data).digest())


def format_content_id(digest: bytes) -> str:
    """``blake3:<hex>`` for a 33-byte content id."""
    if len(digest) != 33 or digest[0] != BLAKE3_CODE:
        raise ValueError(f"not a content id: {digest.hex()}")
    return "blake3:" + digest[1:].hex()


def parse_content_id(text: str) -> bytes:
    """Inverse of :func:`format_content_id`; ValueError if the text is not one."""
    algorithm, _, hexed = text.partition(":")
    raw = bytes.fromhex(hexed)
    if algorithm != "blake3" or len(raw) != 32:
        raise ValueError(f"not a content id: {text!r}")
    return content_id(raw)


def piece_checks(data: bytes | bytearray | memoryview) -> bytes:
    """Concatenated checks of every piece of ``data`` (16 bytes per started MiB)."""
    view = memoryview(data).cast("B")
    return b"".join(
        blake3(view[start : start + PIECE_BYTES]).digest(length=CHECK_BYTES)
        for start in range(0, len(view), PIECE_BYTES)
    )


class PieceHasher:
    """Piece checks of a stream fed in buffers of any size."""

    def __init__(self) -> None:
        self._checks = bytearray()
        self._hasher = blake3()
        self._room = PIECE_BYTES

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Feed the next bytes."""
        view = memoryview(data).cast("B")
        while len(view):
            take = view[: self._room]
            self._hasher.update(take)
            self._room -= len(take)
            view = view[len(take) :]
            if self._room == 0:
                self._flush()

    def digest(self) -> bytes:
        """Checks of all pieces so far, the last one possibly short. Ends the stream."""
        if self._room < PIECE_BYTES:
            self._flush()
        return bytes(self._checks)

    def _flush(self) -> None:
        self._checks += self._hasher.digest(length=CHECK_BYTES)
        self._hasher = blake3()
        self._room = PIECE_BYTES
