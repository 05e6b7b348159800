"""Prometheus metrics under vLLM's names, so that its dashboards and routers work; ours beside."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.api.slo import Timing
from serving.engine.engine import Engine
from serving.sched.decision import Reason
from serving.sched.request import Slo

_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_TTFT_S += (20, 40, 80, 160, 640, 2560)
_TPOT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
_TPOT_S += (1, 2.5, 5, 7.5, 10, 20, 40, 80)
_E2E_S = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)


class Metrics:
    """What happens to requests, and the state of the engine when it is asked for."""

    def __init__(self, engine: Engine, model: str) -> None:
        self._registry = CollectorRegistry()
        self._state = _EngineState(engine, model)
        self._registry.register(self._state)
        self._model = model
        self._ttft = self._histogram("vllm:time_to_first_token_seconds", "TTFT.", _TTFT_S)
        self._itl = self._histogram("vllm:inter_token_latency_seconds", "Token gaps.", _TPOT_S)
        self._tpot = self._histogram(
            "vllm:request_time_per_output_token_seconds", "Mean token gap.", _TPOT_S
        )
        self._e2e = self._histogram("vllm:e2e_request_latency_seconds", "Whole answers.", _E2E_S)
        self._finished = self._counter(
            "vllm:request_success", "Finished requests.", "finished_reason"
        )
        self._refused = self._counter("clade:requests_refused", "Refused requests.", "reason")
        self._failed = self._counter("clade:requests_failed", "Requests the engine lost.")
        self._slo = self._counter("clade:slo_requests", "Finished, with an objective.", "met")

    def rename(self, model: str) -> None:
        """The model that is served has another name from now on."""
        self._model = self._state.model = model

    def token(self, timing: Timing, gap_s: float | None) -> None:
        """A token came, ``gap_s`` after the one before."""
        if gap_s is None:
            self._ttft.labels(self._model).observe(timing.ttft_s or 0)
        else:
            self._itl.labels(self._model).observe(gap_s)

    def finished(self, timing: Timing, reason: str) -> None:
        """An answer is complete."""
        self._finished.labels(self._model, reason).inc()
        self._e2e.labels(self._model).observe((timing.last_s or 0) - timing.arrival_s)
        if timing.tpot_s is not None:
            self._tpot.labels(self._model).observe(timing.tpot_s)
        if timing.slo != Slo():
            self._slo.labels(self._model, str(timing.is_good).lower()).inc()

    def aborted(self, _timing: Timing) -> None:
        """Its client went away."""
        self._finished.labels(self._model, "abort").inc()

    def refused(self, reason: Reason) -> None:
        """It was told no."""
        self._refused.labels(self._model, reason).inc()

    def failed(self) -> None:
        """The engine lost it."""
        self._failed.labels(self._model).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, ["model_name"], registry=self._registry, buckets=buckets)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["model_name", *labels], registry=self._registry)


class _EngineState(Collector):
    """Read at every scrape."""

    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self.model = model

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        engine, blocks = self._engine, self._engine.blocks
        gauges = {
            "vllm:num_requests_running": engine.policy.num_running,
            "vllm:num_requests_waiting": engine.num_waiting,
            "vllm:kv_cache_usage_perc": blocks.num_held / blocks.num_blocks,
        }
        counters = {
            "vllm:num_preemptions": engine.num_preemptions,
            "vllm:prompt_tokens": engine.num_prompt_tokens,
            "vllm:generation_tokens": engine.num_generated_tokens,
            "vllm:prefix_cache_queries": engine.num_looked_up_tokens,
            "vllm:prefix_cache_hits": engine.num_found_tokens,
            "clade:engine_steps": engine.num_steps,
        }
        for name, value in gauges.items():
            gauge = GaugeMetricFamily(name, "See vLLM.", labels=["model_name"])
            gauge.add_metric([self.model], value)
            yield gauge
        for name, value in counters.items():
            counter = CounterMetricFamily(name, "See vLLM.", labels=["model_name"])
            counter.add_metric([self.model], value)
            yield counter
