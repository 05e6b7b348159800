"""Parts of a multipart upload: whole, in order, and never too many."""

from hypothesis import given
from hypothesis import strategies as st

from app.settings import GIB, MIB, Settings
from app.store.s3_parts import MOST_PARTS, STREAM_PART_NBYTES, cut, part_nbytes_for


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 50))
def test_parts_join_to_the_stream(chunks: list[bytes], part_nbytes: int):
    parts = [bytes(part) for part in cut(iter(chunks), part_nbytes)]
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == part_nbytes for part in parts[:-1])
    assert len(parts[-1]) <= part_nbytes
    assert parts[-1] or len(parts) == 1


@given(st.integers(0, 5000 * GIB))
def test_any_file_fits_in_the_allowed_parts(nbytes: int):
    part_nbytes = part_nbytes_for(nbytes)
    assert part_nbytes % MIB == 0
    assert part_nbytes >= 8 * MIB
    assert part_nbytes * MOST_PARTS >= nbytes


def test_a_stream_of_the_largest_file_fits(tmp_path):
    largest = Settings(data=tmp_path).limits.file_nbytes
    assert largest <= STREAM_PART_NBYTES * MOST_PARTS
