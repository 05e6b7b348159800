"""What a hub stands on goes away and comes back: nothing is lost, nothing happens twice."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql
from pydantic import SecretStr

from app.db import schema
from app.errors import Unavailable
from app.settings import Settings
from tests.fixtures.services import PostgresCluster, postgres_cluster
from tests.torture.budget import IS_LONG, Summary, budget, told
from tests.torture.stack import Nursery, Stack, owe_collection, running_stack
from tests.torture.traffic import Traffic
from workers.celery_app import make_celery

LONGEST_S = 3.0


class Outages:
    """Each ends what it began: afterwards all is there again."""

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

    def all(self) -> list[Callable[[float], None]]:
        """Those that can happen here."""
        database = self.database_restarts if self._cluster else self.database_refuses
        return [database, self.broker_forgets, self.worker_sleeps]


def torture(stack: Stack, outages: Outages, summary: Summary, rounds: int) -> None:
    draws, hub = random.Random(summary.seed), stack.open()
    with Traffic(lambda: stack.url, summary, writers=3, readers=3, seed=summary.seed) as traffic:
        for number in range(rounds):
            kinds = outages.all()
            outage = kinds[number % len(kinds)]
            with suppress(Unavailable):
                owe_collection(hub)
            outage(draws.uniform(0.2, LONGEST_S))
            summary.count(outage.__name__.replace("_", " "))
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


@contextmanager
def database_of_its_own(settings: Settings) -> Iterator[tuple[PostgresCluster, Settings]]:
    """One that can be restarted without harm to anybody else's tests."""
    with postgres_cluster(fsync=True) as cluster:
        url = f"{cluster.url}/postgres"
        schema.upgrade(url)
        yield cluster, settings.model_copy(update={"database_url": SecretStr(url)})


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
    rounds = budget("OUTAGES", short=3, long=60)
    with told("outages", tell) as summary:
        if not IS_LONG:
            with running_stack(nursery, production_settings, tmp_path, broker_url) as stack:
                stack.start("work more")
                torture(stack, Outages(stack, postgres, None, broker_url), summary, rounds)
            return
        with (
            database_of_its_own(production_settings) as (cluster, settings),
            running_stack(nursery, settings, tmp_path, broker_url) as stack,
        ):
            stack.start("work more")
            torture(stack, Outages(stack, postgres, cluster, broker_url), summary, rounds)
