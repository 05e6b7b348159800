"""Latency models that follow the machine while it serves."""

from collections import deque
from dataclasses import fields

from serving.sched.fit import StepSample, fit_latency
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape

ANCHORS = (
    *(StepShape(num_decodes=b, context_tokens=b * n) for b in (1, 8, 64, 256)
      for n in (64, 512, 4096)),
    *(StepShape(prefill_tokens=n, pairs_within=n * n / 2) for n in (16, 64, 128, 256, 512, 1024,
                                                                   2048, 4096)),
    *(StepShape(prefill_tokens=n, pairs_within=n * n / 2, pairs_behind=n * c)
      for n in (256, 1024) for c in (1024, 4096)),
    *(StepShape(num_decodes=b, context_tokens=b * 512, prefill_tokens=n, pairs_within=n * n / 2)
      for b in (4, 32, 128) for n in (16, 128, 512)),
)  # fmt: skip
"""Shapes at which the present model stands in for steps that did not happen lately."""


class Refit:
    """Fits ``latency``, in place, to the last steps; where those do not reach, it stays as it is.

    Of mixed steps it learns what they take beyond decodes and prefills, not what those take.
    """

    def __init__(self, latency: FittedLatency, *, every: int = 256, window: int = 512) -> None:
        self.latency = latency
        self._every = every
        self._decodes: deque[StepSample] = deque(maxlen=window)
        self._prefills: deque[StepSample] = deque(maxlen=window)
        self._mixed: deque[StepSample] = deque(maxlen=window)
        self._num_since = 0

    def observe(self, shape: StepShape, duration_s: float) -> None:
        """A step was run and took so long; every so many of them the model is fitted again."""
        if shape.is_mixed:
            kind = self._mixed
        else:
            kind = self._prefills if shape.prefill_tokens else self._decodes
        kind.append(StepSample(shape, duration_s))
        self._num_since += 1
        if self._num_since >= self._every:
            self._num_since = 0
            self._fit()

    def _fit(self) -> None:
        anchors = [StepSample(shape, self.latency.step_s(shape)) for shape in ANCHORS]
        fitted = fit_latency([*anchors, *self._decodes, *self._prefills, *self._mixed])
        for field in fields(fitted):
            setattr(self.latency, field.name, getattr(fitted, field.name))
