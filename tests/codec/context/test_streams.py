"""Blocks of CTX taken apart, and what is refused."""

import struct

import numpy as np
import pytest

from codec.context.alphabet import Alphabet
from codec.context.streams import BlockStreams
from codec.errors import CorruptFrame

STATES = np.full(64, 1 << 16, "<u4").tobytes()

SIGNS = Alphabet(2, has_signs=True)


def block(raws: list[bytes], words: bytes, *, scales: bytes = b"\x64", tail: bytes = b"") -> bytes:
    streams = [scales, *raws]
    headers = b"".join(struct.pack("<BII", 0, len(part), len(part)) for part in streams)
    return headers + b"".join(streams) + words + tail


def cut(stored: bytes, count: int = 200, tail: int = 0) -> BlockStreams:
    return BlockStreams.cut(np.frombuffer(stored, np.uint8), SIGNS, count, tail)


def test_raw_streams_with_enough_behind_them_are_read_where_they_lie():
    streams = cut(block([b"abc", b"de"], STATES + bytes(512), tail=b"!"), tail=1)
    assert streams.raws is streams.stored
    first, second = streams.cursors[1], streams.cursors[2]
    assert streams.raws[first : streams.ends[1]].tobytes() == b"abc"
    assert streams.raws[second : streams.ends[2]].tobytes() == b"de"
    assert streams.ends[0] - streams.cursors[0] == 512


def test_raw_streams_near_the_end_of_a_block_are_copied_to_where_there_is_room():
    streams = cut(block([b"abc", b"de"], STATES))
    assert streams.raws is not streams.stored
    assert streams.raws[:5].tobytes() == b"abcde"
    assert streams.raws.size >= 5 + 512


def test_block_of_states_alone_is_spent_at_once():
    streams = cut(block([b"", b""], STATES))
    assert streams.are_spent()
    streams.states[63] += 1
    assert not streams.are_spent()


@pytest.mark.parametrize(
    "stored",
    [
        b"\0" * 26,
        block([b"a", b""], STATES, scales=b"ab"),
        block([bytes(201), b""], STATES),
        block([b"", b""], STATES[:-2]),
        block([b"", b""], STATES + b"x"),
        block([b"", b""], STATES).replace(b"\x01\0\0\0\x01\0\0\0", b"\x09\0\0\0\x01\0\0\0", 1),
    ],
    ids=["no headers", "scales", "raw bytes", "states", "odd", "lengths"],
)
def test_blocks_whose_streams_cannot_be_are_refused(stored):
    with pytest.raises(CorruptFrame):
        cut(stored)
