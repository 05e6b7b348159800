"""Learning rates over the steps of a run, known from the number of the step alone."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Up to ``lr`` in ``warmup_steps``, then as ``kind`` says down to 0 at ``total_steps``."""

    lr: float
    total_steps: int
    kind: Kind = "cosine"
    warmup_steps: int = 0

    def rate(self, step: int) -> float:
        """For the step with this number, from 0 on."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return self.lr
        rest = max(self.total_steps - self.warmup_steps, 1)
        done = min((step - self.warmup_steps) / rest, 1.0)
        return self.lr * (1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2)
