import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.git.pkt import BAND_NBYTES, Mark, PktReader, in_band, pkt

PACKETS = st.lists(st.sampled_from(Mark) | st.binary(max_size=300).map(lambda line: line + b"\n"))


@given(PACKETS, st.integers(min_value=1, max_value=50))
def test_lines_and_marks_come_out_as_they_went_in(packets: list[bytes | Mark], step: int):
    data = pkt(*packets)
    reader = PktReader([data[start : start + step] for start in range(0, len(data), step)])
    assert list(reader.packets()) == [
        each if isinstance(each, Mark) else each[:-1] for each in packets
    ]


@pytest.mark.parametrize("data", [b"0003", b"00", b"-001", b"0x1f", b"+004", b"zzzz", b"0009abc"])
def test_what_is_no_line_is_refused(data: bytes):
    with pytest.raises(InvalidRequest):
        PktReader([data]).packet()


def test_a_band_is_cut_into_lines():
    data = bytes(range(256)) * 600
    reader = PktReader([in_band(1, data)])
    first = reader.read(4)
    assert int(first, 16) == BAND_NBYTES + 5
    assert reader.read(BAND_NBYTES + 1) == b"\1" + data[:BAND_NBYTES]
