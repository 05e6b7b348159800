"""JSON is read strictly and within bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from app.api.json_body import parse_json, validated
from app.errors import InvalidRequest, LimitExceeded
from app.settings import Limits

LIMITS = Limits()  # pyright: ignore[reportCallIssue]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_comes_back_as_it_was(value):
    assert parse_json(json.dumps(value).encode(), LIMITS) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,"a":2}', b'"\\u0000"', b'{"\\u0000":1}',
     b'"\\ud800"', b"\xff", b"1" * 5000],
)  # fmt: skip
def test_what_is_no_honest_json_is_refused(text: bytes):
    with pytest.raises(InvalidRequest):
        parse_json(text, LIMITS)


def test_depth_is_bounded():
    assert parse_json(b"[" * 64 + b"]" * 64, LIMITS)
    for depth in (66, 1_000, 200_000):
        with pytest.raises(LimitExceeded) as refused:
            parse_json(b"[" * depth + b"1" + b"]" * depth, LIMITS)
        assert refused.value.setting == "limits.json_depth"


def test_a_bad_field_is_named():
    class Body(BaseModel):
        name: str

    with pytest.raises(InvalidRequest, match=r"^name: "):
        validated(Body, {"name": 3})
