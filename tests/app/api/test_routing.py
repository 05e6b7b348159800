"""Paths are decoded segment by segment; an encoded slash stays inside its segment."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.routing import ENCODED_SLASH, routing_path


def test_encoded_slashes_are_kept_apart():
    assert routing_path(b"/a/refs%2Fpr%2f1/b?x=%2F") == (
        f"/a/refs{ENCODED_SLASH}pr{ENCODED_SLASH}1/b"
    )


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)))
def test_segments_survive(segments: list[str]):
    raw = "/" + "/".join(quote(segment, safe="") for segment in segments)
    path = routing_path(raw.encode())
    assert path is not None
    decoded = [part.replace(ENCODED_SLASH, "/") for part in path.split("/")[1:]]
    assert decoded == (segments or [""])


@pytest.mark.parametrize("raw", [b"/a%00b", b"/a\x00", b"/%0a", b"/%7F", b"/%ff", b"/\xff"])
def test_what_no_path_may_hold_is_refused(raw: bytes):
    assert routing_path(raw) is None
