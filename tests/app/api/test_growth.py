"""No route does work that grows with the hub where its answer does not.

Work is counted and not timed: instructions of SQLite's virtual machine. The same requests are made
to a hub and to one beside which there are ten times as many repositories of others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import event

from app.settings import Settings
from bench.crowd import fill
from tests.fixtures.asks import ASKS, Ask
from tests.fixtures.seeded import SeededHub, seeded_hub

FEW, MANY = 150, 1_500
ROOM = 1.3
"""Deeper trees of the indexes."""

SLACK = 3_000
"""Instructions that may come and go, as with a page of a tree that is split."""

WHOLE = {
    "GET /metrics": "counts what there is, at most once in a while",
    "GET /api/clade/stats": "adds up what is stored",
    "GET /api/clade/jobs": "counts jobs by state",
    "GET /api/clade/families": "lists families, a page at a time",
}
"""Routes whose answer is about the whole hub."""


@dataclass
class Meter:
    """Instructions of the database so far, in all threads."""

    instructions: int = 0
    step: int = 20

    def tick(self) -> int:
        self.instructions += self.step
        return 0


@contextmanager
def metered(hub: SeededHub) -> Iterator[Meter]:
    """Count what every connection of a hub does from now on."""
    meter = Meter()
    engine = hub.live.hub.db.engine
    engine.dispose()
    event.listen(engine, "connect", lambda raw, _: raw.set_progress_handler(meter.tick, meter.step))
    yield meter


@pytest.fixture(scope="module")
def work(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes
) -> dict[int, dict[str, int]]:
    """Size of the hub -> route -> instructions of its request."""
    counted: dict[int, dict[str, int]] = {}
    for repos in (FEW, MANY):
        data = tmp_path_factory.mktemp(f"crowd-{repos}")
        (data / "hub.sqlite").write_bytes(migrated_sqlite)
        settings = Settings(data=data)  # pyright: ignore[reportCallIssue]
        with seeded_hub(settings, data) as hub:
            fill(hub.live.hub.db, repos)
            with metered(hub) as meter:
                counted[repos] = {ask.route: _instructions(hub, meter, ask) for ask in ASKS}
    return counted


def _instructions(hub: SeededHub, meter: Meter, ask: Ask) -> int:
    before = meter.instructions
    hub.send(ask)
    return meter.instructions - before


@pytest.mark.parametrize("ask", ASKS, ids=[ask.route for ask in ASKS])
def test_work_does_not_grow_with_the_hub(work: dict[int, dict[str, int]], ask: Ask):
    few, many = work[FEW][ask.route], work[MANY][ask.route]
    if ask.route in WHOLE:
        return
    assert many <= ROOM * few + SLACK, f"{few} -> {many}"
