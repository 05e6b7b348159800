"""Every route of the hub: asked honestly, by those who may not, with wrong values and wrong bodies.

The table in ``tests.fixtures.asks`` names each route once; a route that is not in it fails here.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import signature

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select

from app.db.tables import Table
from app.main import ROUTERS
from app.settings import Settings
from tests.fixtures.api import BOB_TOKEN
from tests.fixtures.asks import ASKS, UNBOUNDED, Ask
from tests.fixtures.mirrors import eventually
from tests.fixtures.seeded import SeededHub, seeded_hub

by_route = pytest.mark.parametrize("ask", ASKS, ids=[ask.route for ask in ASKS])

WRONG: dict[str, Sequence[str]] = {
    "namespace": ["nobody", "a--b", "x" * 97],
    "name": ["missing", "mod\u00e9l", "x" * 97, "a\\b", "a%00b"],
    "revision": ["none", "0" * 40, "refs/pr/99", "HEAD~1", "a..b", "x" * 300, " "],
    "branch": ["a..b", "x" * 300, "a b", "-x", "a~1", ".lock", "@{", "a\\b", "a//b"],
    "tag": ["a..b", "x" * 300, "a b", "none"],
    "path": ["none", "../x", "a//b", ".git/config", "/etc/passwd", "x/" * 60, "x" * 3000],
    "user": ["nobody", "x" * 97, "al\u00efce", "acme"],
    "org": ["nobody", "x" * 97],
    "number": ["0", "-1", "99", "x", "9" * 30],
    "comment": ["0" * 24, "x", "9" * 40],
    "digest": ["zz", "0" * 64, "0" * 63, "-", "\u0660" * 64],
    "sealed": ["x", "AAAA", "e" * 5000, "\u00e9"],
    "capability": ["x", "AAAA", "e" * 5000, "\u00e9"],
    "index": ["-1", "x", "999", "9" * 30],
    "status": ["all", "x"],
    "family_id": ["0", "-1", "x", "9" * 30],
    "grant_id": ["x", "9" * 30],
    "token_id": ["0", "-1", "x", "9" * 30, "999"],
    "file_name": ["file-none", "x", "x" * 3000, "a%00b"],
    "job_name": ["ftjob-none", "x", "x" * 3000, "a%00b"],
    "which": ["none"],
    "step": ["x", "9" * 30],
    "account": ["nobody", "bob", "x" * 97],
    "repo_type": ["wallets", "MODELS"],
}
"""By parameter of a path: values that name nothing."""

NO_BODY = [
    *(b"", b"[]", b"null", b"{", b'"x"', b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}'),
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
]
NO_VALUE = [[[]], {"x": {}}, 1e308, "\0", "\ud800", "x" * (1 << 20), -(1 << 70)]
"""Of a field: mostly refused, ignored where nobody reads it, never a fault of the hub's."""

FORGED = [
    *(None, True, -1, 1.5, 10**30, "", "x", "\0", "\ud800", [], {}, [1, 2], ["a", "b"], [[], 0]),
    *([["f" * 40], -5], [["f" * 40], 10**30], [-(10**30), -1], [1e308, 1], [None, None]),
    *(["0001-01-01T00:00:00+14:00", 1], ["9999-12-31T23:59:59-14:00", 1], ["2026-01-01", 1]),
]
"""Positions to go on from that no page of ours gave out."""

FREE = {"prefix", "rest", "realm"}
"""Parameters that every value is good for: the client's own words."""


@pytest.fixture(scope="module")
def seeded(api_settings: Settings) -> Iterator[SeededHub]:
    """One hub for all; requests that are refused leave it as it was."""
    with seeded_hub(api_settings, api_settings.data) as hub:
        yield hub


def test_the_table_names_every_route_once():
    assert sorted(ask.route for ask in ASKS) == sorted(ROUTE_OF)
    named = {name for ask in ASKS for name in ask.parameters}
    assert named == WRONG.keys() | FREE


ROUTE_OF = {
    f"{method} {route.path}": route
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.endpoint.__module__ not in UNBOUNDED
    for method in route.methods or ()
}


def fault(answer: httpx.Response) -> str | None:
    """Why an answer is no refusal as every client can read it; None if it is one."""
    if not 400 <= answer.status_code < 500:
        return f"{answer.status_code}: {answer.text[:200]}"
    if answer.request.method == "HEAD" or "text/html" in answer.headers["content-type"]:
        return None
    message = answer.headers.get("X-Error-Message", "")
    if not (message and message.isascii() and message.isprintable()):
        return f"X-Error-Message: {message!a}"
    lacking = {"X-Request-Id", "X-Error-Code"} - {name.title() for name in answer.headers}
    return f"lacks {lacking}" if lacking or not answer.json().get("error") else None


def rows(seeded: SeededHub) -> dict[str, int]:
    """How many rows each table has, but for the intents that the collector takes back."""
    with seeded.live.hub.db.read() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Table.metadata.sorted_tables
            if table.name != "object"
        }


@by_route
def test_wrong_values_are_refused_and_change_nothing(seeded: SeededHub, ask: Ask):
    before = rows(seeded)
    faults = {
        (name, wrong[:40]): found
        for name in ask.parameters
        if not (name == "revision" and "/xet-" in ask.path)  # clients ask for one called None
        for wrong in WRONG.get(name, ())
        if (found := fault(seeded.send(ask, **{name: wrong})))
    }
    assert faults == {}
    assert rows(seeded) == before


@by_route
def test_a_private_repo_looks_like_none(seeded: SeededHub, ask: Ask):
    if not ask.names_repo or "locks" in ask.path:
        return
    for token in (BOB_TOKEN, ""):
        private, missing = (
            seeded.send(ask, token=token, name=name) for name in ("private", "missing")
        )
        assert fault(private) is None
        assert private.status_code == missing.status_code
        assert _said(private).replace("private", "missing") == _said(missing)


@by_route
def test_wrong_bodies_are_refused_and_change_nothing(seeded: SeededHub, ask: Ask):
    if not isinstance(ask.body, dict) or ask.refused:
        return
    before = rows(seeded)
    faults = {body[:40]: found for body in NO_BODY if (found := fault(seeded.send_body(ask, body)))}
    assert faults == {}
    for name in ask.body:
        for wrong in NO_VALUE:
            body = json.dumps(ask.body | {name: wrong}).encode()
            answer = seeded.send_body(ask, body)
            assert answer.is_success or fault(answer) is None, (name, wrong)
    assert rows(seeded) == before


@by_route
def test_forged_cursors_are_no_faults(seeded: SeededHub, ask: Ask):
    if "cursor" not in signature(ROUTE_OF[ask.route].endpoint).parameters:
        return
    for position in FORGED:
        cursor = urlsafe_b64encode(json.dumps(position).encode()).decode()
        for sort in ("", "&sort=likes", "&sort=createdAt"):
            answer = seeded.send(replace(ask, query=f"cursor={cursor}{sort}"))
            assert answer.is_success or fault(answer) is None, (position, answer.text)


@by_route
def test_what_breaks_off_in_the_middle_changes_nothing(seeded: SeededHub, ask: Ask):
    """A client that sends half of a body, and hears nothing or a refusal."""
    body = seeded.body_of(ask)
    if len(body) < 2 or "telemetry" in ask.path:
        return
    before = rows(seeded)
    for ending in ("shut", "closed"):
        status = seeded.send_half(ask, body, ending)
        assert status is None or 400 <= status < 500, status
    eventually(lambda: rows(seeded) == before, within_s=20)


@by_route
def test_bodies_of_another_type_are_no_faults(seeded: SeededHub, ask: Ask):
    if ask.body is None:
        return
    for kind in ("text/plain", "multipart/form-data", "application/json; charset=utf-16", ""):
        headers = {**ask.headers, "Content-Type": kind}
        answer = seeded.send_body(replace(ask, headers=headers), b"\0\xff junk")
        assert answer.is_success or fault(answer) is None, (kind, answer.text)


@by_route
def test_honest_requests_succeed(seeded: SeededHub, ask: Ask):
    answer = seeded.send(ask)
    assert answer.status_code == 404 if ask.refused else answer.is_success, answer.text


def _said(answer: httpx.Response) -> str:
    return answer.text.replace(answer.headers["X-Request-Id"], "")
