"""What profiling a simulated engine measures: policies know it only by a fit to noisy samples."""

import random
from collections.abc import Iterator
from math import exp

from serving.sched.fit import StepSample
from serving.sched.shape import StepShape
from serving.sim.gpus import StepTimes

NOISE = 0.03
"""Standard deviation of a step's duration, as a share (log-normal, mean 1)."""


class NoisySteps:
    """Step durations: the truth times log-normal noise of mean 1."""

    def __init__(self, times: StepTimes, rng: random.Random, noise: float = NOISE) -> None:
        self._times = times
        self._gauss = rng.gauss
        self._noise = noise

    def __call__(self, shape: StepShape) -> float:
        """Seconds that this step takes, this time."""
        factor = exp(self._gauss(-self._noise * self._noise / 2, self._noise))
        return self._times.step_s(shape) * factor


def shapes() -> Iterator[StepShape]:
    """The grid that a profile measures: decodes, prompts, and chunks behind computed tokens."""
    for num_seqs in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        for length in (64, 256, 1024, 2048, 4096, 8192):
            if num_seqs * length <= 400_000:
                yield StepShape(num_decodes=num_seqs, context_tokens=num_seqs * length)
    for count in (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192):
        yield StepShape(prefill_tokens=count, pairs_within=count * count / 2)
    for count in (256, 512, 2048):
        for computed in (1024, 4096, 8192):
            yield StepShape(
                prefill_tokens=count,
                pairs_within=count * count / 2,
                pairs_behind=count * computed,
            )


def profile(times: StepTimes, rng: random.Random, repeats: int = 3) -> list[StepSample]:
    """Measured samples of the grid."""
    duration = NoisySteps(times, rng)
    return [StepSample(shape, duration(shape)) for shape in shapes() for _ in range(repeats)]
