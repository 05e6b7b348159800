"""Many runs of a comparison, in processes of their own, in an order that does not matter."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from serving.sim.arrivals import Arrival
from serving.sim.experiment import Setting, run
from serving.sim.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One run: what was asked, and what came of it."""

    policy: str
    load: float
    seed: int
    rate: float
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        """Flat, with ``classes`` nested."""
        asked = {"policy": self.policy, "load": self.load, "seed": self.seed, "rate": self.rate}
        return asked | asdict(self.outcome)


def sweep(
    setting: Setting,
    bodies: Sequence[Arrival],
    *,
    policies: Sequence[str],
    loads: Sequence[float],
    unit_rate: float,
    seeds: int,
    processes: int | None = None,
) -> Iterator[Row]:
    """Rows as they are done. ``unit_rate``: requests a second at load 1."""
    todo = [
        (policy, load, load * unit_rate, seed)
        for load in loads
        for policy in policies
        for seed in range(seeds)
    ]
    workers = min(processes or min(4, os.cpu_count() or 1), len(todo))
    if workers == 1:
        _keep(setting, bodies)
        yield from (_run(*each) for each in todo)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_keep, initargs=(setting, bodies)) as pool:
        for done in as_completed([pool.submit(_run, *each) for each in todo]):
            yield done.result()


_kept: list[tuple[Setting, Sequence[Arrival]]] = []
"""In a worker process: what all of its runs share, sent once."""


def _keep(setting: Setting, bodies: Sequence[Arrival]) -> None:
    _kept[:] = [(setting, bodies)]


def _run(policy: str, load: float, rate: float, seed: int) -> Row:
    setting, bodies = _kept[0]
    return Row(policy, load, seed, rate, run(setting, bodies, policy, rate, seed))
