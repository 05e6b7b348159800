import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from app.digest import (
    CHECK_BYTES,
    PIECE_BYTES,
    PieceHasher,
    content_id_of,
    format_content_id,
    parse_content_id,
    piece_checks,
)


@given(st.binary(max_size=100))
def test_content_id_survives_its_text_form(data: bytes) -> None:
    digest = content_id_of(data)

    assert parse_content_id(format_content_id(digest)) == digest
    assert digest[1:] == blake3(data).digest()


@pytest.mark.parametrize("text", ["", "sha256:" + "0" * 64, "blake3:00", "blake3:" + "z" * 64])
def test_other_text_is_no_content_id(text: str) -> None:
    with pytest.raises(ValueError):
        parse_content_id(text)


@given(st.lists(st.integers(0, 3 * PIECE_BYTES // 2), max_size=4))
def test_piece_checks_do_not_depend_on_how_the_stream_is_cut(lengths: list[int]) -> None:
    data = bytes(sum(lengths))
    hasher = PieceHasher()
    start = 0
    for length in lengths:
        hasher.update(data[start : start + length])
        start += length

    checks = hasher.digest()

    assert checks == piece_checks(data)
    assert len(checks) == CHECK_BYTES * -(-len(data) // PIECE_BYTES)
