"""How much background work may cost: raw bytes coded and CPU seconds, by the hour."""

import time
from dataclasses import dataclass, field
from math import inf
from typing import Any

from app.hub import Hub


@dataclass(slots=True)
class Budget:
    """What one hour still has room for. Used by the thread that does the work."""

    hour: str = ""
    nbytes: float = inf
    """Raw bytes that may be coded in this hour; those already coded included."""
    cpu_s: float = inf
    spent_nbytes: int = 0
    spent_cpu_s: float = 0.0
    _began: float = field(default_factory=time.thread_time)

    @classmethod
    def of_hour(cls, hub: Hub, kept: dict[str, Any]) -> "Budget":
        """That of the settings, less what was spent in this hour before."""
        hour = hub.clock.now().strftime("%Y-%m-%dT%H")
        jobs = hub.settings.jobs
        budget = cls(hour, jobs.optimise_nbytes, jobs.optimise_cpu_s)
        if kept.get("hour") == hour:
            budget.spent_nbytes, budget.spent_cpu_s = kept["nbytes"], kept["cpu_s"]
        return budget

    def spend(self, nbytes: int) -> None:
        """Note raw bytes that were coded, and the CPU time of this thread since the last note."""
        self.spent_nbytes += nbytes
        now = time.thread_time()
        self.spent_cpu_s += now - self._began
        self._began = now

    @property
    def is_spent(self) -> bool:
        """Whether the work must wait for the next hour."""
        self.spend(0)
        return self.spent_nbytes >= self.nbytes or self.spent_cpu_s >= self.cpu_s

    def kept(self) -> dict[str, Any]:
        """For the bookmark."""
        return {
            "hour": self.hour,
            "nbytes": self.spent_nbytes,
            "cpu_s": round(self.spent_cpu_s, 3),
        }
