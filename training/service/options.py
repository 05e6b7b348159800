"""What a trainer is told when it starts; `clade serve` has the same as settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.jobs.limits import RunLimits, policy_for
from training.sched.shape import Layout

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerOptions:
    """``bases``: processes at a time. ``memory_gb``, ``most_jobs``, ``most_tokens``: of each.

    ``idle_s``: how long a base is kept in memory without a job.
    """

    hub: str
    cache: Path
    bases: int = 1
    device: str = "cpu"
    dtype: Dtype = "auto"
    layout: Layout = Layout.PACKED
    memory_gb: float | None = None
    most_jobs: int = 8
    most_tokens: int = 4096
    threads: int | None = None
    idle_s: float = 60.0

    def limits(self, layout: Layout) -> RunLimits:
        """Of a run in this layout."""
        return RunLimits(
            layout=layout,
            policy_name=policy_for(layout),
            most_jobs=self.most_jobs,
            most_tokens=self.most_tokens,
            memory_gb=self.memory_gb,
        )

    def arguments(self) -> list[str]:
        """The same for the command line of a child."""
        own = {name: getattr(self, name) for name in self.__slots__} | {"layout": self.layout.value}
        return [
            f"--{name.removesuffix('_s').replace('_', '-')}={value}"
            for name, value in own.items()
            if value is not None
        ]
