import pytest

from app.api.ranges import is_unchanged, requested_range
from app.errors import RangeNotSatisfiable

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("Bytes = 1-2", (1, 3)),
    ],
)
def test_range_is_clipped_to_the_file(header: str, expected: tuple[int, int]) -> None:
    assert requested_range({"range": header}, 10, ETAG) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=0-1,3-4"])
def test_range_beyond_the_end_and_several_ranges_are_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        requested_range({"range": header}, 10, ETAG)
    assert refused.value.size == 10


@pytest.mark.parametrize("header", ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=1-2"])
def test_header_that_is_no_byte_range_is_ignored(header: str) -> None:
    assert requested_range({"range": header}, 10, ETAG) is None


def test_empty_file_has_no_ranges() -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range({"range": "bytes=0-"}, 0, ETAG)


def test_range_of_another_version_is_ignored() -> None:
    assert requested_range({"range": "bytes=0-1", "if-range": ETAG}, 10, ETAG) == (0, 2)
    assert requested_range({"range": "bytes=0-1", "if-range": '"old"'}, 10, ETAG) is None
    assert requested_range({"range": "bytes=0-1", "if-range": f"W/{ETAG}"}, 10, ETAG) is None


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
def test_known_etag_means_unchanged(known: str) -> None:
    assert is_unchanged({"if-none-match": known}, ETAG)


def test_unknown_etag_means_changed() -> None:
    assert not is_unchanged({"if-none-match": '"x"'}, ETAG)
    assert not is_unchanged({}, ETAG)
