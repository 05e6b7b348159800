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
"""Of a process: the codec's compiled kernels, caches, and what 48 requests hold."""


class Memory:
    """Highest resident sizes of a stack's processes, MiB, by role."""

    def __init__(self, stack: Stack) -> None:
        self._processes = {role: psutil.Process(pid) for role, pid in stack.pids.items()}
        self.peaks = dict.fromkeys(self._processes, 0)

    def look(self) -> None:
        for role, process in self._processes.items():
            family = [process, *process.children()]
            highest = max(each.memory_info().rss >> 20 for each in family)
            self.peaks[role] = max(self.peaks[role], highest)


def load(stack: Stack, summary: Summary, seconds: int) -> None:
    hub = stack.open()
    memory = Memory(stack)
    with Traffic(
        lambda: stack.url, summary, writers=WRITERS, readers=READERS, seed=summary.seed
    ) as traffic:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or summary.counts.get("reads", 0) < READERS:
            owe_collection(hub)
            memory.look()
            traffic.check()
            time.sleep(0.5)
    traffic.check()
    for role, peak in memory.peaks.items():
        summary.count(f"MiB of {role} at most", peak)
    for what, seconds in traffic.seconds.items():
        at = sorted(seconds)[len(seconds) * 99 // 100]
        summary.count(f"ms for 99 of 100 {what} at most", round(at * 1000))
    summary.count("files", len(traffic.acknowledged))
    assert not {what for what in summary.counts if what.startswith("answers 5")}
    assert max(memory.peaks.values()) < MOST_RSS_MIB
    with traffic.reading() as read:
        for place in traffic.acknowledged.items():
            read(*place)
    summary.count("seconds until all was done at most", round(stack.settle(hub)))
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
