"""Seals: believed only if they are ours, for this use, and in time."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.signing import SealBroken, seal, tag, unseal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = b"secret" * 6
SEALED = seal(SECRET, "use", {"a": 1, "b": "two"}, now=NOW, expires_s=60)


def test_claims_come_back():
    claims = unseal(SECRET, "use", SEALED, now=NOW + timedelta(seconds=59))
    assert (claims["a"], claims["b"]) == (1, "two")


def test_seal_expires():
    with pytest.raises(SealBroken, match="expired"):
        unseal(SECRET, "use", SEALED, now=NOW + timedelta(seconds=60))


@pytest.mark.parametrize(("secret", "purpose"), [(b"other", "use"), (SECRET, "other use")])
def test_seal_of_another_hub_or_use_is_none(secret, purpose):
    with pytest.raises(SealBroken):
        unseal(secret, purpose, SEALED, now=NOW)


@given(st.integers(0, len(SEALED) - 1), st.characters(codec="utf-8"))
def test_changed_seal_is_none(at, char):
    changed = SEALED[:at] + char + SEALED[at + 1 :]
    try:
        claims = unseal(SECRET, "use", changed, now=NOW)
    except SealBroken:
        return
    # Base64 leaves spare bits in the last digit of each half.
    assert claims["b"] == "two"


@given(st.text(max_size=200))
def test_any_text_is_refused_cleanly(text):
    with pytest.raises(SealBroken):
        unseal(SECRET, "use", text, now=NOW)


def test_claims_cannot_be_swapped_in():
    body = base64.urlsafe_b64encode(b'{"a":2,"x":99999999999}').rstrip(b"=").decode()
    with pytest.raises(SealBroken):
        unseal(SECRET, "use", body + "." + SEALED.partition(".")[2], now=NOW)


def test_tag_is_stable_and_differs_by_subject():
    assert tag(SECRET, "use", "1") == tag(SECRET, "use", "1")
    assert tag(SECRET, "use", "1") != tag(SECRET, "use", "2")
