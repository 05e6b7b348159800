"""What a hub stands on goes away and comes back: nothing is lost, nothing happens twice."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql
from pydantic import SecretStr

from app.db import schema
from app.errors import Unavailable
from app.gc.collect import collect
from app.jobs.runner import drain
from app.settings import Settings
from app.tasks import HANDLERS
from tests.fixtures.services import PostgresCluster, postgres_cluster
from tests.torture.budget import IS_LONG, Ledger, Summary, budget, piece_s, told
from tests.torture.stack import Nursery, Stack, owe_collection, running_stack
from tests.torture.traffic import Traffic
from workers.celery_app import make_celery

LONGEST_S = 3.0
BUSY_S = 3.0
"""Times a length drawn: beyond what a hub waits for SQLite, at times."""

Outage = Callable[[float], None]
"""Goes on for about so many seconds; afterwards all is there again."""


class ProductionOutages:
    """Of PostgreSQL, the broker and workers."""

    def __init__(
        self, stack: Stack, postgres: str, cluster: PostgresCluster | None, broker_url: str
    ) -> None:
        self._stack, self._postgres, self._cluster = stack, postgres, cluster
        self._broker = broker_url

    def database_refuses(self, seconds: float) -> None:
        """Every connection ends, and no new one begins."""
        parsed = urlsplit(self._postgres)
        name = sql.Identifier(parsed.path[1:])
        refuse = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        server = self._postgres.removesuffix(parsed.path) + "/postgres"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(refuse.format(name, sql.SQL("false")))
            admin.execute(everybody, [parsed.path[1:]])
            time.sleep(seconds)
            admin.execute(refuse.format(name, sql.SQL("true")))

    def database_restarts(self, _seconds: float) -> None:
        """At once, without a shutdown: it recovers from its log."""
        assert self._cluster is not None
        self._cluster.restart()

    def broker_forgets(self, _seconds: float) -> None:
        """Every message is lost."""
        if not self._broker.startswith("redis"):
            make_celery(self._stack.settings).control.purge()
            return
        with redis.Redis.from_url(self._broker) as client:
            client.flushall()

    def worker_sleeps(self, seconds: float) -> None:
        """Beyond the lease of its job, which another takes over; then it wakes up and goes on."""
        pid = self._stack.pids["work"]
        os.killpg(pid, signal.SIGSTOP)
        time.sleep(seconds + self._stack.settings.timers.job_lease_s)
        os.killpg(pid, signal.SIGCONT)

    def all(self) -> list[Outage]:
        """Those that can happen here."""
        database = self.database_restarts if self._cluster else self.database_refuses
        return [database, self.broker_forgets, self.worker_sleeps]


class EmbeddedOutages:
    """Of SQLite and of the one process that does everything."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def database_is_held(self, seconds: float) -> None:
        """Another process writes and does not end, for longer than anybody waits for it."""
        path = self._stack.settings.data / "hub.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(BUSY_S * seconds)
            other.execute("ROLLBACK")

    def server_sleeps(self, seconds: float) -> None:
        """Beyond its leases: another process takes its jobs over, and collects; then it wakes."""
        pid = self._stack.pids["serve"]
        os.killpg(pid, signal.SIGSTOP)
        time.sleep(seconds + self._stack.settings.timers.job_lease_s)
        hub = self._stack.open()
        with suppress(Unavailable):  # it fell asleep while it wrote
            drain(hub, HANDLERS)
            collect(hub)
        hub.close()
        os.killpg(pid, signal.SIGCONT)

    def all(self) -> list[Outage]:
        return [self.database_is_held, self.server_sleeps]


def torture(stack: Stack, outages: list[Outage], summary: Summary) -> None:
    draws, hub = random.Random(summary.seed), stack.open()
    done = Ledger(summary.attack).totals()
    earlier = sum(done[_named(outage)] for outage in outages)
    ends = time.monotonic() + piece_s()
    with Traffic(lambda: stack.url, summary, writers=3, readers=3, seed=summary.seed) as traffic:
        for number in range(earlier, budget("OUTAGES", short=3, long=60)):
            if time.monotonic() > ends:
                break
            outage = outages[number % len(outages)]
            with suppress(Unavailable):
                owe_collection(hub)
            outage(draws.uniform(0.2, LONGEST_S))
            summary.count(_named(outage))
            time.sleep(draws.uniform(0.2, 1.0))
            traffic.check()
        while summary.counts.get("reads", 0) < 20:
            traffic.check()
            time.sleep(0.05)
    traffic.check()
    with traffic.reading() as read:
        for place in traffic.acknowledged.items():
            read(*place)
    stack.settle(hub)
    hub.close()


def _named(outage: Outage) -> str:
    return outage.__name__.replace("_", " ")


@contextmanager
def database_of_its_own(settings: Settings) -> Iterator[tuple[PostgresCluster, Settings]]:
    """One that can be restarted without harm to anybody else's tests."""
    with postgres_cluster(fsync=True) as cluster:
        url = f"{cluster.url}/postgres"
        schema.upgrade(url)
        yield cluster, settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_embedded_hub(
    nursery: Nursery, embedded_settings: Settings, tmp_path: Path, tell: Callable[[str], None]
):
    with (
        told("outages, embedded", tell) as summary,
        running_stack(nursery, embedded_settings, tmp_path, None) as stack,
    ):
        torture(stack, EmbeddedOutages(stack).all(), summary)


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
    with told("outages", tell) as summary:
        if not IS_LONG:
            with running_stack(nursery, production_settings, tmp_path, broker_url) as stack:
                stack.start("work more")
                outages = ProductionOutages(stack, postgres, None, broker_url)
                torture(stack, outages.all(), summary)
            return
        with (
            database_of_its_own(production_settings) as (cluster, settings),
            running_stack(nursery, settings, tmp_path, broker_url) as stack,
        ):
            stack.start("work more")
            outages = ProductionOutages(stack, postgres, cluster, broker_url)
            torture(stack, outages.all(), summary)
