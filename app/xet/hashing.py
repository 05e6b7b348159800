"""Digests of the Xet protocol: chunks, xorbs, files and terms.

Source: hub-docs ``docs/xet/hashing.md`` (keys, node format) and ``docs/xet/api.md`` (text form);
the cut rule of the tree is that of xet-core's ``aggregated_hashes``: children of one node are two
at least and nine at most, and a node ends after a child, the third or later, whose digest is
divisible by four. Checked against xet-core's reference vectors.
"""

import re
import struct

from blake3 import blake3

DIGEST_NBYTES = 32

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
TERM_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
FILE_KEY = bytes(32)

EMPTY_DIGEST = bytes(32)
"""Digest of a file or xorb without chunks."""

BRANCHING = 4
MAX_CHILDREN = 2 * BRANCHING + 1

_TEXT = re.compile(r"[0-9a-f]{64}")
_WORDS = struct.Struct("<4Q")
_TEXT_WORDS = struct.Struct(">4Q")
_NODE_LINE = "%016x%016x%016x%016x : %d\n"


def format_digest(digest: bytes) -> str:
    """Text form: four little-endian 64-bit words, each as 16 hex digits."""
    return _TEXT_WORDS.pack(*_WORDS.unpack(digest)).hex()


def parse_digest(text: str) -> bytes:
    """Inverse of :func:`format_digest`; ValueError if the text is not one."""
    if not _TEXT.fullmatch(text):
        raise ValueError(f"not a Xet digest: {text!r}")
    return _WORDS.pack(*_TEXT_WORDS.unpack(bytes.fromhex(text)))


def chunk_digest(chunk: bytes | bytearray | memoryview) -> bytes:
    """Digest of a chunk's raw bytes."""
    return blake3(chunk, key=DATA_KEY).digest()


def term_digest(joined: bytes | memoryview) -> bytes:
    """Verification digest of a term, from the joined 32-byte digests of its chunks."""
    return blake3(joined, key=TERM_KEY).digest()


class DigestTree:
    """Xorb or file digest of chunks fed in order; memory grows with the tree's height only."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def add(self, digest: bytes, nbytes: int) -> None:
        """Feed the next chunk: its digest and raw length."""
        self._push(0, digest, nbytes)

    def xorb_digest(self) -> bytes:
        """Digest of a xorb with the chunks so far. Ends the tree."""
        height = 0
        while height < len(self._levels):
            level = self._levels[height]
            if level.count == 1:
                return level.digest
            if level.lines:
                self._close(height)
            height += 1
        return EMPTY_DIGEST

    def file_digest(self) -> bytes:
        """Digest of a file with the chunks so far. Ends the tree."""
        root = self.xorb_digest()
        return root if not self._levels else blake3(root, key=FILE_KEY).digest()

    def _push(self, height: int, digest: bytes, nbytes: int) -> None:
        if height == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[height]
        level.digest = digest
        level.count += 1
        level.nbytes += nbytes
        level.lines.append(_NODE_LINE % (*_WORDS.unpack(digest), nbytes))
        children = len(level.lines)
        # The digest modulo four: the two low bits of its last little-endian word.
        if children == MAX_CHILDREN or (children > 2 and digest[24] % BRANCHING == 0):
            self._close(height)

    def _close(self, height: int) -> None:
        level = self._levels[height]
        parent = blake3("".join(level.lines).encode(), key=NODE_KEY).digest()
        nbytes = level.nbytes
        level.lines.clear()
        level.nbytes = 0
        self._push(height + 1, parent, nbytes)


class _Level:
    """The open node of one level of a tree."""

    __slots__ = ("count", "digest", "lines", "nbytes")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.nbytes = 0
        self.count = 0
        """Digests seen on this level, in open and closed nodes."""
        self.digest = EMPTY_DIGEST
        """The last of them."""
