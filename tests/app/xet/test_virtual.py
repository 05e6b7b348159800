"""Virtual xorbs are read back by our own reader of xorbs, whole and in any part."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.xet import virtual
from app.xet.virtual import (
    CHUNK_WIRE_NBYTES,
    VirtualXorb,
    terms_of,
    wire_nbytes,
    xorb_text,
)
from app.xet.xorb import AS_IS, CHUNK_RAW_NBYTES, HEADER_NBYTES, parse_header

SIZES = [1, 17, CHUNK_RAW_NBYTES - 1, CHUNK_RAW_NBYTES, CHUNK_RAW_NBYTES + 1, 700_001]


class Bytes:
    """A file in memory, read in buffers of odd lengths."""

    def __init__(self, data: bytes, buffer_nbytes: int = 99_991) -> None:
        self.data = data
        self.buffer_nbytes = buffer_nbytes
        self.closed = False

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        assert 0 <= start <= stop <= len(self.data)
        for at in range(start, stop, self.buffer_nbytes):
            yield memoryview(self.data)[at : min(at + self.buffer_nbytes, stop)]

    def close(self) -> None:
        self.closed = True


def unpacked(wire: bytes) -> bytes:
    """The raw bytes of chunks as a client reads them."""
    raw, at = [], 0
    while at < len(wire):
        stored, scheme, nbytes = parse_header(wire[at : at + HEADER_NBYTES])
        assert (scheme, stored) == (AS_IS, nbytes)
        at += HEADER_NBYTES + stored
        raw.append(wire[at - stored : at])
    assert at == len(wire)
    return b"".join(raw)


def sent(data: bytes, index: int, start: int, stop: int, buffer_nbytes: int = 99_991) -> bytes:
    parts = VirtualXorb(Bytes(data, buffer_nbytes), len(data), index)
    return b"".join(parts.stream(start, stop))


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize("buffer_nbytes", [7_777, CHUNK_RAW_NBYTES, 1 << 22])
def test_a_whole_xorb_unpacks_to_the_file(nbytes: int, buffer_nbytes: int):
    data = random.Random(nbytes).randbytes(nbytes)
    wire = sent(data, 0, 0, wire_nbytes(nbytes, 0), buffer_nbytes)
    assert len(wire) == wire_nbytes(nbytes, 0)
    assert unpacked(wire) == data
    assert wire_nbytes(nbytes, 1) == 0


def test_terms_of_a_file_unpack_to_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(virtual, "XORB_RAW_NBYTES", 4 * CHUNK_RAW_NBYTES)
    data = random.Random(0).randbytes(9 * CHUNK_RAW_NBYTES + 5)
    skipped, terms = terms_of(len(data), 0, len(data))
    assert skipped == 0
    assert [(term.index, term.first, term.last) for term in terms] == [
        (0, 0, 4),
        (1, 0, 4),
        (2, 0, 2),
    ]
    assert b"".join(unpacked(sent(data, term.index, *term.wire_range)) for term in terms) == data


@given(st.data())
def test_any_range_of_a_file_lies_in_its_terms(data):
    nbytes = data.draw(st.integers(1, 5 * CHUNK_RAW_NBYTES))
    start = data.draw(st.integers(0, nbytes - 1))
    stop = data.draw(st.integers(start + 1, nbytes))
    content = random.Random(nbytes).randbytes(nbytes)
    skipped, terms = terms_of(nbytes, start, stop)
    raw = b"".join(unpacked(sent(content, term.index, *term.wire_range)) for term in terms)
    assert [len(raw)] == [sum(term.nbytes for term in terms)]
    assert raw[skipped : skipped + stop - start] == content[start:stop]


@given(st.integers(0, 4 * CHUNK_WIRE_NBYTES), st.integers(1, 4 * CHUNK_WIRE_NBYTES))
def test_any_part_on_the_wire_is_that_part_of_the_whole(start: int, length: int):
    content = random.Random(1).randbytes(3 * CHUNK_RAW_NBYTES + 1_000)
    total = wire_nbytes(len(content), 0)
    start = min(start, total - 1)
    stop = min(start + length, total)
    whole = sent(content, 0, 0, total)
    assert sent(content, 0, start, stop) == whole[start:stop]


def test_names_differ_by_file_and_place():
    names = {xorb_text(bytes([file]) * 32, index) for file in range(3) for index in range(3)}
    assert len(names) == 9
    assert all(len(bytes.fromhex(name)) == 32 for name in names)


def test_closing_stops_the_reader():
    reader = Bytes(b"x")
    VirtualXorb(reader, 1, 0).close()
    assert reader.closed
