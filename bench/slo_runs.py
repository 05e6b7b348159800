"""Runs of the simulator that are kept in a file, so that a bench goes on where it was stopped."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from serving.cli.sweep import Row
from serving.sim.arrivals import Arrival
from serving.sim.experiment import Setting, run
from serving.sim.outcome import ClassOutcome, Outcome


@dataclass(frozen=True, slots=True)
class Task:
    """One run. ``workload``: what ``bodies`` are called; equal names mean equal bodies."""

    setting: Setting
    workload: str
    bodies: Sequence[Arrival]
    policy: str
    load: float
    unit_rate: float
    seed: int

    @property
    def key(self) -> str:
        """Of all that its outcome depends on but the code."""
        asked = (self.workload, self.policy, self.load, self.unit_rate, self.seed)
        return json.dumps([asdict(self.setting), *asked], sort_keys=True)

    def run(self) -> Outcome:
        """Simulate it."""
        rate = self.load * self.unit_rate
        return run(self.setting, self.bodies, self.policy, rate, self.seed)

    def row(self, outcome: Outcome) -> Row:
        """With what was asked."""
        return Row(self.policy, self.load, self.seed, self.load * self.unit_rate, outcome)


class Runs:
    """Runs tasks in so many processes; what ``path`` holds from before is not run again."""

    def __init__(self, path: Path | None, processes: int) -> None:
        self._path = path
        self._processes = processes
        self._known: dict[str, Outcome] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                self._known[kept["key"]] = _outcome(kept["outcome"])

    def __call__(self, tasks: Sequence[Task]) -> list[Row]:
        """The rows of tasks, in their order."""
        todo = [task for task in tasks if task.key not in self._known]
        if self._processes == 1 or not todo:
            for task in todo:
                self._keep(task, task.run())
        else:
            with ProcessPoolExecutor(self._processes, get_context("spawn")) as pool:
                for task, outcome in zip(todo, pool.map(Task.run, todo), strict=True):
                    self._keep(task, outcome)
        return [task.row(self._known[task.key]) for task in tasks]

    def _keep(self, task: Task, outcome: Outcome) -> None:
        self._known[task.key] = outcome
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                print(json.dumps({"key": task.key, "outcome": asdict(outcome)}), file=file)


def _outcome(kept: dict[str, Any]) -> Outcome:
    classes = {name: ClassOutcome(**each) for name, each in kept.pop("classes").items()}
    return Outcome(**kept, classes=classes)
