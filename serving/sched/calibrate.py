"""A latency model of an engine that nobody has profiled, found in the first steps it runs."""

from collections.abc import Callable
from dataclasses import fields, replace
from statistics import median

from serving.sched.fit import StepSample
from serving.sched.latency import FittedLatency
from serving.sched.refit import Refit
from serving.sched.shape import StepShape

UNKNOWN = FittedLatency(
    a=0, b=0, c=0, d=1e-6, theta=0, phi=1e-6, alpha=1e-9, beta=1e-6
)  # fmt: skip
"""Before anything was measured: so fast that nobody is refused on a guess."""

TYPICAL = FittedLatency(
    a=6.6e-8, b=44e-6, c=0, d=13.3e-3, theta=64, phi=14.5e-3, alpha=66.6e-6, beta=11.5e-3
)  # fmt: skip
"""The proportions of a known one: Llama-3-8B on an A100 (``docs/serving/slo.md``, step times)."""


class Calibration:
    """Brings ``latency``, in place, from :data:`UNKNOWN` to what the engine does.

    The first ``num_decodes`` pure decodes and ``num_prefills`` pure prefills say how much slower or
    faster than :data:`TYPICAL` the engine is at each, by the median: first runs are slow. From then
    on the model is fitted again and again as by :class:`Refit`. ``told`` is called once
    it is known. ``is_known``: it is already, from an earlier start.
    """

    def __init__(
        self,
        latency: FittedLatency,
        *,
        is_known: bool = False,
        num_decodes: int = 16,
        num_prefills: int = 4,
        told: Callable[[FittedLatency], None] = lambda _latency: None,
    ) -> None:
        self._latency = latency
        self._wanted = (num_decodes, num_prefills)
        self._samples: tuple[list[StepSample], list[StepSample]] = ([], [])
        self._told = told
        self._refit = Refit(latency) if is_known else None

    @property
    def is_known(self) -> bool:
        """Whether it tells what was measured."""
        return self._refit is not None

    def observe(self, shape: StepShape, duration_s: float) -> None:
        """A step was run and took so long."""
        if self._refit is not None:
            self._refit.observe(shape, duration_s)
            return
        if shape.is_mixed:
            return
        self._samples[bool(shape.prefill_tokens)].append(StepSample(shape, duration_s))
        if all(len(own) >= count for own, count in zip(self._samples, self._wanted, strict=True)):
            self._settle()

    def _settle(self) -> None:
        decode, prefill = (
            median(each.duration_s / TYPICAL.step_s(each.shape) for each in own)
            for own in self._samples
        )
        scaled = replace(
            TYPICAL,
            **{name: getattr(TYPICAL, name) * decode for name in ("a", "b", "c", "d")},
            **{name: getattr(TYPICAL, name) * prefill for name in ("phi", "alpha", "beta", "e")},
        )
        for field in fields(scaled):
            setattr(self._latency, field.name, getattr(scaled, field.name))
        self._refit = Refit(self._latency)
        for each in (*self._samples[0], *self._samples[1]):
            self._refit.observe(each.shape, each.duration_s)
        self._told(self._latency)
