"""The registry behind /metrics, and the requests it counts as they happen."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from app import __version__
from app.api.collectors import (
    KeepingCollector,
    OptimiserCollector,
    QueueCollector,
    SizeCollector,
    StoreCollector,
)
from app.hub import Hub
from app.stats import Meter

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def make_registry(hub: Hub, meter: Meter) -> CollectorRegistry:
    """A registry of one app's own, with everything but its requests."""
    registry = CollectorRegistry()
    Gauge("clade_info", "The version that runs.", ["version"], registry=registry).labels(
        __version__
    ).set(1)
    for collector in (
        QueueCollector(hub),
        KeepingCollector(hub),
        OptimiserCollector(hub),
        SizeCollector(meter),
        StoreCollector(hub.store),
        ProcessCollector(registry=None),
        PlatformCollector(registry=None),
    ):
        registry.register(collector)
    GCCollector(registry=registry)
    return registry


class RequestMetrics:
    """Counters of one app, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "clade_http_requests", "Requests.", ["route", "method", "status"], registry=registry
        )
        self._running = Gauge(
            "clade_http_requests_running", "Requests being answered.", registry=registry
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

    def begin(self) -> None:
        """Count one request in."""
        self._running.inc()

    def observe(
        self,
        route: str,
        method: str,
        status: int,
        duration_s: float,
        received_nbytes: int,
        sent_nbytes: int,
    ) -> None:
        """Count one finished request, and out again."""
        self._running.dec()
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._received.labels(route).inc(received_nbytes)
        self._sent.labels(route).inc(sent_nbytes)
        self._duration.labels(route).observe(duration_s)
