"""Hostile requests for every route: paths, queries, headers and bodies, on each database.

    python -m bench.fuzz_routes [--inputs 20000] [--seed 0] [--database sqlite postgres]

Each begins as the honest request that the tests send to the route, and has up to four mishaps: a
value of the path that names nothing or is no text, a parameter of the query that means something
else, a field of the body that is missing or of another kind, bytes changed, somebody else's token.
Every answer is one of 2xx or 3xx, or a refusal that every client can read. In the end the hub's
rows and objects agree. A seed and a number make the same request.
"""

import argparse
import json
import random
import tempfile
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi.routing import APIRoute

from app.db import schema
from app.gc.fsck import fsck
from app.main import ROUTERS
from app.settings import Rates, Settings
from bench.fuzz_parsers import damaged
from bench.fuzz_targets import Target
from bench.postgres import postgres_database
from bench.report import print_table
from tests.fixtures.api import ALICE_TOKEN, BOB_TOKEN, ROOT_TOKEN
from tests.fixtures.asks import ASKS, Ask
from tests.fixtures.seeded import CAROL_TOKEN, SeededHub, seeded_hub
from tests.fixtures.wrong import FORGED, NO_BODY, NO_VALUE, WRONG, fault

INPUTS = 20_000
DATABASES = ("sqlite", "postgres")
UNLIMITED = dict.fromkeys(
    (
        "api",
        "api_anonymous",
        "resolvers",
        "resolvers_anonymous",
        "pages",
        "pages_anonymous",
        "failures",
    ),
    0,
)
"""Rates, or most of the requests would be refused for their number."""

TOKENS = (ALICE_TOKEN, BOB_TOKEN, CAROL_TOKEN, ROOT_TOKEN, "", "hf_nobody", "x" * 600, "\u00e9")
RAW = [
    *("%00", "%ff", "%C3%28", "%2e%2e%2f", "..", "%0d%0aX-A:%20b", "a%2Fb", "%F0%9F%A6%99"),
    *("%ED%A0%80", "-1", "9" * 25, "1e5", "'%20OR%201=1--", "%25", "_", "true", "[]", "%7B%7D"),
]
"""Values as they stand in a URL."""

VALUES = [
    *(*NO_VALUE, *FORGED, None, True, -1, 0, 1 << 63, 0.5, "", "\u202e", "a/../b", [None]),
]
HEADERS = {
    "Content-Type": [
        *("", "text/plain", "application/json", "application/x-ndjson", "multipart/form-data"),
        *("application/x-www-form-urlencoded", "application/json; charset=utf-16", "\u00e9"),
    ],
    "Range": ["bytes=5-2", "bytes=-0", "bytes=0-0,3-4", "bytes=0-" + "9" * 30, "lines=1-2"],
    "If-None-Match": ['"x"', "*", "W/", "\u00e9"],
    "Accept": ["", "text/html", "application/vnd.git-lfs+json", "x"],
    "Git-Protocol": ["version=9", "version=2", "\u00e9"],
    "Content-Encoding": ["gzip", "br", "identity, gzip"],
    "X-Request-Id": ["a b", "\u00e9", "x" * 5_000],
    "X-Forwarded-Host": ["evil.example", "a b", "[::1"],
}


@dataclass
class Draft:
    """A request while it is made wrong."""

    ask: Ask
    headers: dict[str, str]
    body: bytes
    path: dict[str, str] = field(default_factory=dict)
    """What stands in the URL in place of a value of the path."""
    query: list[str] = field(default_factory=list)


Mishap = Callable[[random.Random, Draft], None]


def _path(chance: random.Random, draft: Draft) -> None:
    if draft.ask.parameters:
        name = chance.choice(draft.ask.parameters)
        pool = WRONG.get(name, ()) if chance.random() < 0.5 else chance.choice(list(WRONG.values()))
        draft.path[name] = chance.choice([*(quote(value, safe="") for value in pool), *RAW])


def _query(chance: random.Random, draft: Draft) -> None:
    names = [*signature(ROUTE_OF[draft.ask.route].endpoint).parameters, "expand", "limit", "x"]
    cursor = urlsafe_b64encode(json.dumps(chance.choice(FORGED)).encode()).decode()
    value = chance.choice([*RAW, cursor, cursor, "", "a" * chance.choice((1, 300, 9_000))])
    draft.query.append(f"{chance.choice(names)}={value}")


def _field(chance: random.Random, draft: Draft) -> None:
    """A field of a JSON body, at any depth, is gone or something else."""
    try:
        body = json.loads(draft.body)
    except (ValueError, RecursionError):  # an earlier mishap
        return
    if places := list(_places(body)):
        holder, key = chance.choice(places)
        holder[key] = chance.choice(VALUES)
        if chance.random() < 0.2:
            del holder[key]
        draft.body = json.dumps(body).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _bytes(chance: random.Random, draft: Draft) -> None:
    if draft.body and chance.random() < 0.8:
        draft.body = damaged(chance, Target("body", lambda _: None, (draft.body,)))
    else:
        draft.body = chance.choice(NO_BODY)


def _token(chance: random.Random, draft: Draft) -> None:
    kind = chance.choice(("Bearer ", "Bearer ", "Basic ", "bearer", ""))
    draft.headers["Authorization"] = kind + chance.choice(TOKENS)


def _header(chance: random.Random, draft: Draft) -> None:
    name = chance.choice(list(HEADERS))
    draft.headers[name] = chance.choice(HEADERS[name])


MISHAPS = (_path, _path, _query, _query, _field, _field, _field, _bytes, _token, _header)

ROUTE_OF = {
    f"{method} {route.path}": route
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}


def send(chance: random.Random, hub: SeededHub, ask: Ask) -> httpx.Response:
    """Send the honest request after up to four mishaps."""
    _, headers = hub.head(ask, None, {})
    draft = Draft(ask, headers, hub.body_of(ask))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        chance.choice(MISHAPS)(chance, draft)
    url, _ = hub.head(ask, None, {name: f"in-place-of-{name}" for name in draft.path})
    for name, raw in draft.path.items():
        url = url.replace(f"in-place-of-{name}", raw)
    url += ("&" if "?" in url else "?") + "&".join(draft.query) if draft.query else ""
    wire = [(name.encode(), value.strip().encode()) for name, value in draft.headers.items()]
    try:
        return hub.client.request(ask.method, url, content=draft.body, headers=wire)
    except httpx.RemoteProtocolError:  # the connection ended over the body of the request before
        return hub.client.request(ask.method, url, content=draft.body, headers=wire)


def run(hub: SeededHub, seed: int, inputs: int) -> dict[str, Counter[int]]:
    """Send so many requests, as many to each route; statuses by method.

    Raises SystemExit at an answer that is wrong.
    """
    outcomes: dict[str, Counter[int]] = {}
    slowest = (0.0, "")
    for number in range(inputs):
        ask = ASKS[number % len(ASKS)]
        began = time.monotonic()
        answer = send(random.Random(f"{seed}/{ask.route}/{number}"), hub, ask)
        slowest = max(slowest, (time.monotonic() - began, f"{ask.route}, input {number}"))
        outcomes.setdefault(ask.method, Counter())[answer.status_code] += 1
        if answer.status_code >= 400 and (told := fault(answer)):
            sent = f"{answer.request.method} {answer.request.url} {answer.request.content[:400]!r}"
            raise SystemExit(f"FINDING at {ask.route}, seed {seed}, input {number}: {told}\n{sent}")
    outcomes[f"slowest: {slowest[0]:.1f} s, {slowest[1]}"] = Counter()
    return outcomes


def fuzz(database: str, seed: int, inputs: int) -> dict[str, Counter[int]]:
    """The same on a hub of its own, which is sound in the end. Raises SystemExit."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clade-fuzz-")))
        facts: dict[str, Any] = {"data": data, "rates": Rates.model_validate(UNLIMITED)}
        if database == "postgres":
            facts["database_url"] = stack.enter_context(postgres_database())
        settings = Settings.model_validate(facts)
        schema.upgrade(settings.resolved_database_url)
        hub = stack.enter_context(seeded_hub(settings, data))
        outcomes = run(hub, seed, inputs)
        report = fsck(hub.live.hub, deep=True)
        if not report.clean:
            raise SystemExit(f"the hub holds what it should not: {report.problems}")
        return outcomes


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS, help="on each database")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", nargs="+", choices=DATABASES, default=DATABASES)
    chosen = parser.parse_args()
    rows = [
        [
            database,
            method,
            f"{sum(counts.values()):,}",
            ", ".join(f"{s}: {n:,}" for s, n in sorted(counts.items())),
        ]
        for database in chosen.database
        for method, counts in fuzz(database, chosen.seed, chosen.inputs).items()
    ]
    print_table(
        f"hostile requests to {len(ASKS)} routes",
        ["database", "method", "inputs", "answers"],
        rows,
        "No 5xx, every refusal is readable; the hub is sound.",
    )


if __name__ == "__main__":
    main()
