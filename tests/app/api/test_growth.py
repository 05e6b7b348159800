"""No route does work that grows with the hub where its answer does not.

Work is counted and not timed: instructions of SQLite's virtual machine; on PostgreSQL, blocks that
queries touch, with plans that scan no table an index would do for. The same requests are made to a
hub and to one with ten times as many repositories of others. ``API_DATABASES`` says on which
databases (``make test-api``); without it, SQLite.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from app.settings import Settings
from bench.crowd import fill
from tests.fixtures.asks import ASKS, Ask
from tests.fixtures.hub import API_DATABASES
from tests.fixtures.meter import Meter
from tests.fixtures.seeded import SeededHub, seeded_hub
from tests.fixtures.services import empty_database

SIZES = {"sqlite": (150, 1_500), "postgres": (400, 4_000)}
"""Few repositories and many. PostgreSQL's indexes are one page up to some 370 rows and two levels
from then on, which alone is half as much again for every look-up."""

ROOM = 1.3
"""Deeper trees of the indexes."""

SLACK = {"sqlite": 3_000, "postgres": 100}
"""What may come and go, as with a page of a tree that is split."""

WHOLE = {
    "GET /metrics": "counts what there is, at most once in a while",
    "GET /api/clade/stats": "adds up what is stored",
    "GET /api/clade/jobs": "counts jobs by state",
}
"""Routes whose answer is about the whole hub."""


@dataclass(frozen=True)
class Work:
    """Route -> work of its request, on a hub of few repositories and on one of many."""

    few: dict[str, int]
    many: dict[str, int]
    slack: int


@pytest.fixture(scope="module", params=API_DATABASES)
def work(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    migrated_sqlite: bytes,
) -> Work:
    """What every request takes beside few repositories and beside many."""
    counted: list[dict[str, int]] = []
    for repos in SIZES[request.param]:
        data = tmp_path_factory.mktemp(f"crowd-{repos}")
        with ExitStack() as stack:
            facts: dict[str, Any] = {"data": data}
            if request.param == "sqlite":
                (data / "hub.sqlite").write_bytes(migrated_sqlite)
            else:
                template = request.getfixturevalue("postgres_template")
                server = request.getfixturevalue("postgres_server")
                facts["database_url"] = stack.enter_context(
                    empty_database(server, f"TEMPLATE {template}")
                )
            hub = stack.enter_context(seeded_hub(Settings.model_validate(facts), data))
            fill(hub.live.hub.db, repos)
            meter = Meter()
            meter.watch(hub.live.hub.db.engine)
            counted.append({ask.route: _work(hub, meter, ask) for ask in ASKS})
    return Work(*counted, slack=SLACK[request.param])


def _work(hub: SeededHub, meter: Meter, ask: Ask) -> int:
    before = meter.total
    hub.send(ask)
    return meter.total - before


@pytest.mark.parametrize("ask", ASKS, ids=[ask.route for ask in ASKS])
def test_work_does_not_grow_with_the_hub(work: Work, ask: Ask):
    if ask.route in WHOLE:
        return
    few, many = work.few[ask.route], work.many[ask.route]
    assert many <= ROOM * few + work.slack, f"{few} -> {many}"
