"""Every route of the hub: asked honestly, by those who may not, with wrong values and wrong bodies.

The table in ``tests.fixtures.asks`` names each route once; a route that is not in it fails here.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
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
from tests.fixtures.wrong import FORGED, NO_BODY, NO_VALUE, WRONG, fault

by_route = pytest.mark.parametrize("ask", ASKS, ids=[ask.route for ask in ASKS])

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


READS = [
    ask
    for ask in ASKS
    if "revision" in ask.parameters
    and (ask.method in {"GET", "HEAD"} or "/paths-info/" in ask.path)
]


@pytest.mark.parametrize("ask", READS, ids=[ask.route for ask in READS])
def test_head_is_the_default_branch(seeded: SeededHub, ask: Ask):
    assert seeded.send(ask, revision="HEAD").status_code == seeded.send(ask).status_code < 400


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
