"""Attainment under SLOs, simulated: SCORPIO and our remedy beside tuned baselines, with ablations.

    python -m bench.slo [--out DIR] [--gpu a100 h100] [--workload NAME …] [--ablation] [--quick]

All policies see the same requests. What was chosen was chosen on other requests than those told
about: minutes 0 to 8 of the trace (our constants; the step budget that suits each baseline best, at
loads 1 and 2), other chats, other seeds. Told are minutes 8 to 16, with the burst at minute 14.
With ``--out`` runs are kept as they end, and a second start goes on. Nothing here is a measurement
of a GPU.
"""

import argparse
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.report import median, percentile, print_table
from bench.slo_cost import RUNNING, WAITING, Crowd
from bench.slo_runs import Runs, Task
from bench.slo_variants import BASELINES, BUDGETS, GUARDS, VARIANTS
from bench.slo_verdicts import OURS, SCORPIO, verdicts
from serving.cli.chart import draw
from serving.cli.sweep import Row
from serving.cli.table import cells, csv_table, text_table
from serving.cli.traces import read_trace
from serving.sched.named import POLICIES
from serving.sim.experiment import Setting, capacity
from serving.sim.workload import chat_bodies, make_requests

LOADS = (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
TUNING_SEED = 1_000
TUNING_MINUTES, TOLD_MINUTES = (0.0, 8.0), (8.0, 16.0)
WORKLOADS = {
    "trace-code": "the Azure code trace, arrivals and lengths",
    "poisson-chat": "Poisson arrivals, synthetic ShareGPT-like lengths (161 in, 338 out)",
    "poisson-code": "Poisson arrivals, lengths of the Azure code trace (2,048 in, 28 out)",
    "trace-chat": "arrivals of the Azure code trace, ShareGPT-like lengths (as in the paper)",
}


class Requests:
    """Lengths and times of a workload, from one part of the trace; ``name`` tells which."""

    def __init__(self, workload: str, minutes: tuple[float, float]) -> None:
        start, end = minutes
        self.name = f"{workload}, minutes {start:g} to {end:g}"
        trace = [each for each in read_trace("azure-code") if start * 60 <= each.at_s < end * 60]
        self.bodies = trace
        if workload.endswith("chat"):
            chat = chat_bodies(random.Random(int(start)), len(trace))
            self.bodies = [
                replace(body, at_s=at.at_s) for at, body in zip(trace, chat, strict=True)
            ]


class Comparison:
    """All policies on one GPU and one workload."""

    def __init__(self, gpu: str, workload: str, runs: Runs, arguments: argparse.Namespace) -> None:
        process = "trace" if workload.startswith("trace") else "poisson"
        count = None if process == "trace" else arguments.requests
        self.setting = Setting(
            gpu=gpu, model="llama-3-8b", process=process, count=count, kv_tokens=arguments.kv_tokens
        )
        self.name = f"{gpu} {workload}"
        self.title = f"SIMULATED {gpu} × llama-3-8b: {WORKLOADS[workload]}"
        self.told = Requests(workload, tuple(arguments.minutes))
        self.chosen_on = Requests(workload, TUNING_MINUTES)
        self.unit_rate = capacity(self.setting, self.told.bodies)
        self.budgets: dict[str, int] = {}
        self._runs = runs

    def tune(self) -> None:
        """The budget with which each baseline has most goodput at loads 1 and 2."""
        unit_rate = capacity(self.setting, self.chosen_on.bodies)
        tasks = [
            self._task(name, load, TUNING_SEED, budget, self.chosen_on, unit_rate)
            for name in BASELINES
            for budget in BUDGETS
            for load in (1.0, 2.0)
        ]
        goodput: dict[tuple[str, int], float] = {}
        for task, row in zip(tasks, self._runs(tasks), strict=True):
            tried = task.policy, task.setting.max_num_batched_tokens
            goodput[tried] = goodput.get(tried, 0.0) + row.outcome.goodput
        self.budgets = {
            name: max(BUDGETS, key=lambda budget, name=name: goodput[name, budget])
            for name in BASELINES
        }

    def rows(self, names: Iterable[str], loads: Sequence[float], seeds: int) -> list[Row]:
        """Every policy at every load with every seed."""
        return self._runs(
            [
                self._task(
                    name, load, seed, self.budgets.get(name, 2_048), self.told, self.unit_rate
                )
                for seed in range(seeds)
                for load in loads
                for name in names
            ]
        )

    def _task(
        self, name: str, load: float, seed: int, budget: int, requests: Requests, unit_rate: float
    ) -> Task:
        setting = replace(self.setting, max_num_batched_tokens=budget)
        return Task(setting, requests.name, requests.bodies, name, load, unit_rate, seed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one GPU, two workloads, two seeds")
    parser.add_argument("--gpu", nargs="+", default=["a100", "h100"])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--loads", nargs="+", type=float, default=list(LOADS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500, help="of each Poisson run")
    parser.add_argument("--kv-tokens", type=int, help="of the KV pool; default: what the GPU holds")
    parser.add_argument("--minutes", nargs=2, type=float, default=TOLD_MINUTES, help="of the trace")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--ablation", action="store_true", help="what each part is worth, too")
    parser.add_argument("--no-cost", action="store_true", help="do not time decisions")
    parser.add_argument("--out", type=Path, help="directory for runs, CSV and PNG")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.gpu, arguments.workload = ["a100"], ["poisson-chat", "trace-code"]
        arguments.seeds, arguments.requests, arguments.minutes = 2, 300, (8.0, 10.0)
        arguments.loads = [0.5, 1.0, 2.0]
    if not arguments.no_cost:
        print_cost(20 if arguments.quick else 200)
    print_predictor()
    runs = Runs(arguments.out and arguments.out / "runs.jsonl", arguments.processes)
    missed = []
    for workload in arguments.workload:
        for gpu in arguments.gpu:
            comparison = Comparison(gpu, workload, runs, arguments)
            missed += compare(comparison, sorted(arguments.loads), arguments)
    if missed:
        print("\n".join(["", "MISSED", *missed]))


def compare(
    comparison: Comparison, loads: Sequence[float], arguments: argparse.Namespace
) -> list[str]:
    """Run, print, write; what SCORPIO or ours did not reach."""
    print(f"\n== {comparison.title}")
    for note in comparison.setting.times.notes:
        print(f"   {note}")
    print(f"   told: {comparison.told.name}; budgets chosen on {comparison.chosen_on.name}")
    print(f"   capacity (load 1) {comparison.unit_rate:.2f} requests/s: offline throughput")
    comparison.tune()
    print("   step budgets:", ", ".join(f"{k} {v}" for k, v in comparison.budgets.items()))
    names = [*BASELINES, *SCORPIO, OURS]
    rows = comparison.rows(names, loads, arguments.seeds)
    found = cells(rows, names)
    print(text_table(found))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        stem = arguments.out / comparison.name.replace(" ", "-")
        stem.with_suffix(".csv").write_text(csv_table(rows), encoding="utf-8")
        draw(found, f"{comparison.title}, {arguments.seeds} seeds", stem.with_suffix(".png"))
    if arguments.ablation:
        ablate(comparison, arguments.seeds)
    return verdicts(comparison.name, found)


def ablate(comparison: Comparison, seeds: int) -> None:
    """What each part is worth at loads .5, 1 and 2."""
    loads = (0.5, 1.0, 2.0)
    names = [*SCORPIO, *GUARDS, OURS, *(variant.name for variant in VARIANTS)]
    names.sort(key=lambda name: (name not in SCORPIO and not name.startswith("scorpio, "), name))
    found = cells(comparison.rows(names, loads, seeds), names)
    by = {(cell.load, cell.policy): cell for cell in found}
    lines = []
    for name in names:
        line = [name]
        for load in loads:
            cell = by[load, name]
            adherence = cell.figure("adherence")
            shares = [cell.figure(share).mean for share in ("ttft_met", "tpot_met", "rejected")]
            line.append(f"{adherence.mean:.3f} ±{adherence.half:.3f}")
            line.append(" ".join(f"{share:.2f}" for share in shares))
        lines.append(line)
    head = ["policy"]
    for load in loads:
        head += [f"adherence at {load:g}", "ttft tpot rej"]
    print_table(f"ablation, {comparison.name}", head, lines)


def print_cost(steps: int) -> None:
    """CPU milliseconds a decision takes in a full engine."""
    lines = []
    for name in POLICIES:
        if name in {variant.name for variant in VARIANTS}:
            continue
        spent = [1e3 * seconds for seconds in Crowd(name).measure(steps)]
        worst = percentile(spent, 99)
        verdict = "MET" if median(spent) <= 1 else "MISSED"
        lines.append([name, f"{median(spent):.3f}", f"{worst:.3f}", verdict])
    title = f"CPU ms of a decision, {RUNNING} running, {WAITING} waiting, an arrival each step"
    print_table(title, ["policy", "median", "p99", "≤ 1 ms"], lines)


def print_predictor() -> None:
    """How good the noisy predictions are, as SCORPIO's own predictor is judged."""
    requests = make_requests(chat_bodies(random.Random(0), 2_000), random.Random(1))
    told = [request.predicted_tokens for request in requests]
    true = [request.num_output_tokens for request in requests]
    print(f"noisy predictions: Kendall's τ {_kendall(told, true):.2f} (SCORPIO's predictor: .54)")


def _kendall(told: Sequence[int], true: Sequence[int]) -> float:
    score = pairs = 0
    for i in range(len(told)):
        for j in range(i):
            order = (told[i] - told[j]) * (true[i] - true[j])
            score += (order > 0) - (order < 0)
            pairs += order != 0
    return score / pairs


if __name__ == "__main__":
    sys.exit(main())
