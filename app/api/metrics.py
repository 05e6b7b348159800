"""What /metrics exposes: requests as they happen, jobs and sizes as the database knows them."""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import distinct, func, select
from sqlalchemy.orm import Session

from app.db.tables import File, Job, Repo, StoredObject, TreeEntry
from app.hub import Hub
from app.store.contract import ObjectStore, OperationUsage

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """Counters of one app, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "clade_http_requests", "Requests.", ["route", "method", "status"], registry=registry
        )
        self._received = Counter(
            "clade_http_received_bytes", "Request body bytes.", ["route"], registry=registry
        )
        self._sent = Counter(
            "clade_http_sent_bytes", "Response body bytes.", ["route"], registry=registry
        )
        self._duration = Histogram(
            "clade_http_request_seconds",
            "From the request's head to the last byte of the answer.",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def observe(
        self,
        route: str,
        method: str,
        status: int,
        duration_s: float,
        received_nbytes: int,
        sent_nbytes: int,
    ) -> None:
        """Count one finished request."""
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._received.labels(route).inc(received_nbytes)
        self._sent.labels(route).inc(sent_nbytes)
        self._duration.labels(route).observe(duration_s)


class HubCollector(Collector):
    """Gauges read from the database, at most every ``max_age_s`` seconds."""

    def __init__(self, hub: Hub, *, max_age_s: float = 15) -> None:
        self._hub = hub
        self._max_age = timedelta(seconds=max_age_s)
        self._lock = threading.Lock()
        self._read_at: datetime | None = None
        self._gauges: list[Metric] = []

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not query the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The gauges, fresh enough."""
        with self._lock:
            now = self._hub.clock.now()
            if self._read_at is None or now - self._read_at > self._max_age:
                with self._hub.db.read() as session:
                    self._gauges = [read(session) for read in GAUGES]
                self._read_at = now
            yield from self._gauges


class StoreCollector(Collector):
    """What this process asked of the object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Nothing: see :class:`HubCollector`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Requests, failures, seconds and bytes by operation."""
        usages = self._store.usage()
        for name, text, value in STORE_COUNTERS:
            counter = CounterMetricFamily(f"clade_store_{name}", text, labels=["operation"])
            for usage in usages:
                counter.add_metric([usage.operation], value(usage))
            yield counter


def _jobs(session: Session) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("clade_jobs", "Jobs by state.", labels=["kind", "state"])
    rows = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state))
    for kind, state, count in rows:
        gauge.add_metric([kind, state], count)
    return gauge


def _stored_bytes(session: Session) -> GaugeMetricFamily:
    total = session.scalar(select(func.sum(StoredObject.nbytes)))
    return GaugeMetricFamily(
        "clade_stored_bytes", "Bytes of all objects not yet deleted.", value=float(total or 0)
    )


def _logical_bytes(session: Session) -> GaugeMetricFamily:
    named = (
        select(TreeEntry.repo_id, TreeEntry.file_id)
        .where(TreeEntry.file_id.is_not(None))
        .distinct()
        .subquery()
    )
    total = session.scalar(select(func.sum(File.size)).join(named, named.c.file_id == File.id))
    return GaugeMetricFamily(
        "clade_logical_bytes",
        "Bytes of all files that repositories name, each once per repository.",
        value=float(total or 0),
    )


def _repos(session: Session) -> GaugeMetricFamily:
    total = session.scalar(select(func.count(distinct(Repo.id))))
    return GaugeMetricFamily("clade_repos", "Repositories.", value=float(total or 0))


STORE_COUNTERS: tuple[tuple[str, str, Callable[[OperationUsage], float]], ...] = (
    ("requests", "Requests to the object store.", lambda usage: usage.calls),
    ("failures", "Requests that failed.", lambda usage: usage.failures),
    ("seconds", "Time spent in requests.", lambda usage: usage.busy_s),
    ("read_bytes", "Bytes read.", lambda usage: usage.read_nbytes),
    ("written_bytes", "Bytes written.", lambda usage: usage.written_nbytes),
)
GAUGES: tuple[Callable[[Session], Metric], ...] = (_jobs, _stored_bytes, _logical_bytes, _repos)
