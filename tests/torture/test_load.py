"""16 writers, 32 readers, the encoder, the collector and squashes, all at once."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from app.settings import Settings
from tests.torture.budget import Summary, budget, told
from tests.torture.stack import Nursery, Stack, owe_collection, running_stack
from tests.torture.traffic import Traffic

WRITERS, READERS = 16, 32
MOST_RSS_MIB = 1500
"""Of the server: the codec's compiled kernels, caches, and what 48 requests hold."""


def load(stack: Stack, summary: Summary, seconds: int) -> None:
    hub = stack.open()
    server = psutil.Process(stack.pids["serve"])
    peak = 0
    with Traffic(
        lambda: stack.url, summary, writers=WRITERS, readers=READERS, seed=summary.seed
    ) as traffic:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or summary.counts.get("reads", 0) < READERS:
            owe_collection(hub)
            peak = max(peak, server.memory_info().rss >> 20)
            traffic.check()
            time.sleep(0.5)
    traffic.check()
    summary.count("MiB of the server at most", peak)
    summary.count("files", len(traffic.acknowledged))
    assert not {what for what in summary.counts if what.startswith("answers 5")}
    assert peak < MOST_RSS_MIB
    with traffic.reading() as read:
        for place in traffic.acknowledged.items():
            read(*place)
    stack.settle(hub)
    hub.close()


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_embedded_hub(
    nursery: Nursery, embedded_settings: Settings, tmp_path: Path, tell: Callable[[str], None]
):
    with (
        told("load, embedded", tell) as summary,
        running_stack(nursery, embedded_settings, tmp_path, None) as stack,
    ):
        load(stack, summary, budget("LOAD_S", short=3, long=120))


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_production_stack(
    nursery: Nursery,
    production_settings: Settings,
    postgres: str,
    broker_url: str,
    tmp_path: Path,
    tell: Callable[[str], None],
):
    with (
        told("load, production", tell) as summary,
        running_stack(nursery, production_settings, tmp_path, broker_url) as stack,
    ):
        load(stack, summary, budget("LOAD_S", short=3, long=120))
        with psycopg.connect(postgres) as connection:
            [deadlocks] = connection.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone() or (0,)
    summary.count("deadlocks", deadlocks)
    assert deadlocks == 0
