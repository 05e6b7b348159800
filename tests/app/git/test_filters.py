"""Filters as git writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.git.filters import EVERYTHING, ObjectFilter, parse_filter


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("blob:none", ObjectFilter(blob_nbytes=0)),
        ("blob:limit=12", ObjectFilter(blob_nbytes=12)),
        ("blob:limit=3K", ObjectFilter(blob_nbytes=3 << 10)),
        ("blob:limit=1g", ObjectFilter(blob_nbytes=1 << 30)),
        ("tree:0", ObjectFilter(depth=0)),
        ("combine:tree:2+blob:limit=1k+tree%3A3", ObjectFilter(blob_nbytes=1 << 10, depth=2)),
    ],
)
def test_filters_are_read(spec: str, meant: ObjectFilter):
    assert parse_filter(spec) == meant


@given(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["sparse:oid=main", "object:type=blob", "tree:-1", "blob:limit=", "combine:" * 9_000]
        ),
        st.builds("combine:{}".format, st.text(alphabet="tree:0+blobnc%ms", max_size=30)),
    )
)
def test_whatever_else_is_refused_or_read(spec: str):
    try:
        meant = parse_filter(spec)
    except InvalidRequest:
        return
    assert meant != EVERYTHING


def test_depth_counts_from_the_tree_of_a_commit():
    within = ObjectFilter(depth=1)
    assert within.takes_tree(0)
    assert not within.takes_tree(1)
    assert not within.takes_blob(1, 0)
    assert ObjectFilter(blob_nbytes=5).takes_blob(9, 4)
    assert not ObjectFilter(blob_nbytes=5).takes_blob(1, 5)
