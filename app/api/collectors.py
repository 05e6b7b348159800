"""What /metrics reads at the moment it is asked: the queue, the hub's size, the object store."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.contents.findings import KINDS, count_findings
from app.db.tables import Job
from app.deltas.optimise import load_progress
from app.gc.scrub import oldest_unread
from app.hub import Hub
from app.stats import Meter, Stats
from app.store.contract import ObjectStore, OperationUsage

SIZE_WAIT_S = 2.0
"""How long a scrape waits for a measurement of the hub that is due."""


class _UndescribedCollector(Collector):
    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not query anything."""
        return ()


class QueueCollector(_UndescribedCollector):
    """Jobs that are not done; what is done leaves the queue and is not counted."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """Jobs by kind and state, and the age of the oldest that may run and does not."""
        now = self._hub.clock.now()
        open_jobs = (
            select(Job.kind, Job.state, func.count())
            .where(Job.state.in_(["queued", "running", "failed"]))
            .group_by(Job.kind, Job.state)
        )
        oldest = (
            select(Job.kind, func.min(Job.run_after))
            .where(Job.state == "queued", Job.run_after <= now)
            .group_by(Job.kind)
        )
        counts = GaugeMetricFamily("clade_jobs", "Jobs by state.", labels=["kind", "state"])
        waits = GaugeMetricFamily(
            "clade_job_oldest_wait_seconds",
            "How long the oldest job that may run has been waiting.",
            labels=["kind"],
        )
        with self._hub.db.read() as session:
            for kind, state, count in session.execute(open_jobs):
                counts.add_metric([kind, state], count)
            for kind, since in session.execute(oldest):
                waits.add_metric([kind], (now - since).total_seconds())
        yield from (counts, waits)


class KeepingCollector(_UndescribedCollector):
    """What is known of the state of stored bytes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """Findings by kind, and how long the object that waits longest has not been read."""
        found = GaugeMetricFamily(
            "clade_findings", "Things damaged, lost or at odds.", labels=["kind"]
        )
        with self._hub.db.read() as session:
            counts = count_findings(session)
            since = oldest_unread(session)
        for kind in KINDS:
            found.add_metric([kind], counts.get(kind, 0))
        yield found
        unread_s = 0.0 if since is None else (self._hub.clock.now() - since).total_seconds()
        yield GaugeMetricFamily(
            "clade_oldest_unread_seconds",
            "How long ago the stored object that waits longest was read and judged.",
            value=unread_s,
        )


class OptimiserCollector(_UndescribedCollector):
    """What the optimiser did since the hub was made, in whichever process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """What it cost, what it saved, and how often it has been round."""
        with self._hub.db.read() as session:
            progress, _ = load_progress(session)
        for name, text, value in (
            ("saved_bytes", "Stored bytes saved.", progress.total_saved_nbytes),
            ("coded_bytes", "Raw bytes coded anew.", progress.total_nbytes),
            ("cpu_seconds", "CPU time taken.", progress.total_cpu_s),
            ("rounds", "Rounds over the whole hub.", progress.rounds),
        ):
            yield CounterMetricFamily(f"clade_optimiser_{name}", text, value=value)


class SizeCollector(_UndescribedCollector):
    """The bytes of the hub as last measured; absent until they were."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        """Sizes, what saved bytes, what costs them, and how old the figures are."""
        measured = self._meter.latest(wait_s=SIZE_WAIT_S)
        if measured is None:
            return
        for name, text, value in SIZES:
            yield GaugeMetricFamily(f"clade_{name}", text, value=value(measured.stats))
        saved = GaugeMetricFamily(
            "clade_saved_bytes", "Bytes taken off the logical size.", labels=["cause"]
        )
        for cause in ("file_dedup", "tensor_dedup", "delta", "coding"):
            saved.add_metric([cause], getattr(measured.stats.saved, cause))
        overhead = GaugeMetricFamily(
            "clade_overhead_bytes",
            "Stored bytes beyond the current encodings of committed files.",
            labels=["kind"],
        )
        for kind in ("retired", "held", "other"):
            overhead.add_metric([kind], getattr(measured.stats.overhead, kind))
        yield from (saved, overhead)
        yield GaugeMetricFamily(
            "clade_measured_timestamp_seconds",
            "When these sizes were read, as a Unix time.",
            value=measured.at.timestamp(),
        )


class StoreCollector(_UndescribedCollector):
    """What this process asked of the object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Requests, failures, seconds and bytes by operation."""
        usages = self._store.usage()
        for name, text, value in STORE_COUNTERS:
            counter = CounterMetricFamily(f"clade_store_{name}", text, labels=["operation"])
            for usage in usages:
                counter.add_metric([usage.operation], value(usage))
            yield counter


SIZES: tuple[tuple[str, str, Callable[[Stats], float]], ...] = (
    (
        "logical_bytes",
        "Bytes of every version of every file of every repository.",
        lambda stats: stats.logical_bytes,
    ),
    ("stored_bytes", "Bytes that the bucket holds.", lambda stats: stats.stored_bytes),
    ("repos", "Repositories.", lambda stats: stats.repos),
    ("files", "Distinct files that commits name.", lambda stats: stats.files),
    ("contents", "Tensors, chunks and literals of those.", lambda stats: stats.contents),
    ("deltas", "Contents stored against a base.", lambda stats: stats.deltas),
    ("encodings_waiting", "Contents not yet encoded.", lambda stats: stats.waiting),
)
STORE_COUNTERS: tuple[tuple[str, str, Callable[[OperationUsage], float]], ...] = (
    ("requests", "Requests to the object store.", lambda usage: usage.calls),
    ("failures", "Requests that failed.", lambda usage: usage.failures),
    ("seconds", "Time spent in requests.", lambda usage: usage.busy_s),
    ("read_bytes", "Bytes read.", lambda usage: usage.read_nbytes),
    ("written_bytes", "Bytes written.", lambda usage: usage.written_nbytes),
)
