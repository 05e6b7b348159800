"""Every error of the tree has its status, code and one-line message."""

import json

import pytest

from app import errors
from app.api.errors import RESPONSES, error_response, header_text
from tests.fixtures.api import LiveHub


def all_errors(base: type = errors.HubError) -> list[type]:
    return [each for sub in base.__subclasses__() for each in (sub, *all_errors(sub))]


def test_every_public_error_has_a_response():
    public = {each for each in all_errors() if each.__module__ == "app.errors"}
    assert public == RESPONSES.keys()


def test_missing_repo_asks_anonymous_callers_to_log_in():
    error = errors.RepoNotFound("Repository not found")
    assert error_response(error).status_code == 404
    anonymous = error_response(error, anonymous=True)
    assert anonymous.status_code == 401
    assert anonymous.headers["X-Error-Code"] == "RepoNotFound"
    assert anonymous.headers["WWW-Authenticate"].startswith("Basic")


def test_errors_carry_what_the_caller_needs():
    entry = error_response(errors.EntryNotFound("no", commit="c" * 40))
    assert entry.headers["X-Repo-Commit"] == "c" * 40
    taken = error_response(errors.Conflict("taken", url="http://x/a/b"))
    assert (taken.status_code, json.loads(taken.body)["url"]) == (409, "http://x/a/b")
    outside = error_response(errors.RangeNotSatisfiable("no", size=7))
    assert outside.headers["Content-Range"] == "bytes */7"
    busy = error_response(errors.Unavailable("busy"))
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
    missing = error_response(errors.MissingUploads("send", oids=["ab"]))
    assert json.loads(missing.body)["oids"] == ["ab"]


@pytest.mark.parametrize("message", ["a\r\nX-Evil: 1", "é\u2028", "x" * 5000, "\x00\x1b[0m", ""])
def test_header_text_is_one_bounded_ascii_line(message: str):
    text = header_text(message)
    assert text.isascii()
    assert "\n" not in text
    assert "\r" not in text
    assert len(text) <= 1_000


def test_credentials_that_are_no_text_are_wrong_ones(live_hub: LiveHub):
    with live_hub.http(None) as client:
        for value in ("Basic \u00e9", "Basic =", "Basic /w==", "Bearer \u00e9", "Basic", "\u00e9"):
            headers = [(b"authorization", value.encode())]
            answer = client.get("/api/whoami-v2", headers=headers)
            assert answer.status_code == 401, value
            assert answer.json()["error"]
