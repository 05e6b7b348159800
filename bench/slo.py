"""Attainment under SLOs, simulated: SCORPIO and our remedy beside tuned baselines, with ablations.

All policies see the same requests. Baselines get the step budget that suits each best, tried on a
seed of its own; SCORPIO and ours run at vLLM's default. Nothing here is a measurement of a GPU.
"""

import argparse
import random
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from bench.report import median, percentile, print_table
from bench.slo_cost import RUNNING, WAITING, Crowd
from bench.slo_variants import BASELINES, BUDGETS, GUARDS, REJECTING, VARIANTS
from serving.cli.chart import draw
from serving.cli.sweep import Row
from serving.cli.table import Cell, cells, csv_table, text_table
from serving.cli.traces import read_trace
from serving.sched.named import POLICIES
from serving.sim.arrivals import Arrival
from serving.sim.experiment import Setting, capacity, run
from serving.sim.interval import Interval, interval
from serving.sim.workload import chat_bodies, make_requests

LOADS = (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
SCORPIO = ("scorpio", "scorpio-code")
OURS = "scorpio-plus"
TUNING_SEED = 1_000
WORKLOADS = {
    "poisson-chat": "Poisson arrivals, synthetic ShareGPT-like lengths (161 in, 338 out)",
    "poisson-code": "Poisson arrivals, lengths of the Azure code trace (2,048 in, 28 out)",
    "trace-chat": "arrivals of the Azure code trace, ShareGPT-like lengths (as in the paper)",
    "trace-code": "the Azure code trace, arrivals and lengths",
}


@dataclass(frozen=True, slots=True)
class Task:
    """One run in a worker."""

    setting: Setting
    bodies: Sequence[Arrival]
    policy: str
    load: float
    unit_rate: float
    seed: int

    def run(self) -> Row:
        rate = self.load * self.unit_rate
        outcome = run(self.setting, self.bodies, self.policy, rate, self.seed)
        return Row(self.policy, self.load, self.seed, rate, outcome)


def bodies_of(workload: str, minutes: float) -> list[Arrival]:
    """The first minutes of the trace; or lengths, with the trace's times where it is theirs."""
    trace = [arrival for arrival in read_trace("azure-code") if arrival.at_s < 60 * minutes]
    if workload.endswith("code"):
        return trace
    chat = chat_bodies(random.Random(0), len(trace))
    return [replace(body, at_s=at.at_s) for at, body in zip(trace, chat, strict=True)]


class Comparison:
    """All policies on one GPU and one workload."""

    def __init__(self, gpu: str, workload: str, arguments: argparse.Namespace) -> None:
        process = "trace" if workload.startswith("trace") else "poisson"
        count = None if process == "trace" else arguments.requests
        self.setting = Setting(gpu=gpu, model="llama-3-8b", process=process, count=count)
        self.name = f"{gpu} {workload}"
        self.title = f"SIMULATED {gpu} × llama-3-8b: {WORKLOADS[workload]}"
        self.bodies = bodies_of(workload, arguments.minutes)
        self.unit_rate = capacity(self.setting, self.bodies)
        self.budgets: dict[str, int] = {}

    def tune(self, pool: ProcessPoolExecutor) -> None:
        """The budget with which each baseline has most goodput at loads 1 and 2."""
        loads = (1.0, 2.0)
        tried = [(name, budget) for name in BASELINES for budget in BUDGETS]
        tasks = [
            self._task(name, load, TUNING_SEED, budget) for name, budget in tried for load in loads
        ]
        goodputs = [row.outcome.goodput for row in pool.map(Task.run, tasks)]
        for name in BASELINES:
            sums = {
                budget: goodputs[2 * place] + goodputs[2 * place + 1]
                for place, (policy, budget) in enumerate(tried)
                if policy == name
            }
            self.budgets[name] = max(sums, key=lambda budget: sums[budget])

    def rows(
        self, pool: ProcessPoolExecutor, names: Iterable[str], loads: Sequence[float], seeds: int
    ) -> list[Row]:
        """Every policy at every load with every seed."""
        tasks = [
            self._task(name, load, seed, self.budgets.get(name, 2_048))
            for seed in range(seeds)
            for load in loads
            for name in names
        ]
        return list(pool.map(Task.run, tasks))

    def _task(self, name: str, load: float, seed: int, budget: int) -> Task:
        setting = replace(self.setting, max_num_batched_tokens=budget)
        return Task(setting, self.bodies, name, load, self.unit_rate, seed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one GPU, two workloads, two seeds")
    parser.add_argument("--gpu", nargs="+", default=["a100", "h100"])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--loads", nargs="+", type=float, default=list(LOADS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000, help="of each Poisson run")
    parser.add_argument("--minutes", type=float, default=20, help="of the trace")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-ablation", action="store_true")
    parser.add_argument("--out", type=Path, help="directory for CSV and PNG of each comparison")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.gpu, arguments.workload = ["a100"], ["poisson-chat", "trace-code"]
        arguments.seeds, arguments.requests, arguments.minutes = 2, 300, 5
        arguments.loads = [0.5, 1.0, 2.0]
    print_cost(20 if arguments.quick else 200)
    print_predictor()
    missed = []
    context = get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, context) as pool:
        for gpu in arguments.gpu:
            for workload in arguments.workload:
                comparison = Comparison(gpu, workload, arguments)
                missed += compare(comparison, pool, sorted(arguments.loads), arguments)
    if missed:
        print("\n".join(["", "MISSED", *missed]))


def compare(
    comparison: Comparison,
    pool: ProcessPoolExecutor,
    loads: Sequence[float],
    arguments: argparse.Namespace,
) -> list[str]:
    """Run, print, write; what SCORPIO or ours did not reach."""
    print(f"\n== {comparison.title}")
    for note in comparison.setting.times.notes:
        print(f"   {note}")
    print(f"   capacity (load 1) {comparison.unit_rate:.2f} requests/s: offline throughput")
    comparison.tune(pool)
    print("   step budgets:", ", ".join(f"{k} {v}" for k, v in comparison.budgets.items()))
    names = [*BASELINES, *SCORPIO, OURS]
    rows = comparison.rows(pool, names, loads, arguments.seeds)
    found = cells(rows, names)
    print(text_table(found))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        stem = arguments.out / comparison.name.replace(" ", "-")
        stem.with_suffix(".csv").write_text(csv_table(rows), encoding="utf-8")
        draw(found, f"{comparison.title}, {arguments.seeds} seeds", stem.with_suffix(".png"))
    if not arguments.no_ablation:
        ablate(comparison, pool, arguments.seeds)
    return verdicts(comparison.name, found)


def verdicts(name: str, found: Sequence[Cell]) -> list[str]:
    """Print ratios to the best baselines, paired by seed; what is below the promise."""
    by = {(cell.load, cell.policy): cell for cell in found}
    loads = sorted({cell.load for cell in found})
    missed, lines = [], []
    for load in loads:
        line = [f"{load:g}"]
        for policy in (*SCORPIO, OURS):
            best = ratio_to_best(by, load, policy, BASELINES)
            rejecting = ratio_to_best(by, load, policy, REJECTING)
            line += [_ratio(best), _ratio(rejecting)]
            if load >= 1 and best.mean < 1:
                missed.append(f"{name}, load {load:g}: {policy} has {_ratio(best)} of the best")
        line.append(f"{by[load, OURS].figure('adherence').mean:.3f}")
        lines.append(line)
    head = ["load"]
    for policy in (*SCORPIO, OURS):
        head += [f"{policy} / best", "/ best rejecting"]
    print_table(f"goodput ratios, {name}", [*head, "adherence of ours"], lines)
    rates = ", ".join(
        f"{policy} {rate_at(by, loads, policy, 0.9):.2f}" for policy in (*BASELINES, *SCORPIO, OURS)
    )
    print(f"load up to which adherence is 90 % (0: never): {rates}")
    return missed


def ratio_to_best(
    by: dict[tuple[float, str], Cell], load: float, policy: str, others: Sequence[str]
) -> Interval:
    """Goodput of a policy over that of whichever of ``others`` has most, seed by seed."""
    best = max(others, key=lambda other: by[load, other].figure("goodput").mean)
    pairs = zip(by[load, policy].rows, by[load, best].rows, strict=True)
    return interval([_over(a.outcome.goodput, b.outcome.goodput) for a, b in pairs])


def rate_at(
    by: dict[tuple[float, str], Cell], loads: Sequence[float], policy: str, wanted: float
) -> float:
    """Where the adherence curve first falls below ``wanted``, between loads by a line."""
    reached, last = 0.0, None
    for load in loads:
        adherence = by[load, policy].figure("adherence").mean
        if adherence < wanted:
            if last is None:
                return reached
            return reached + (load - reached) * (last - wanted) / (last - adherence)
        reached, last = load, adherence
    return reached


def ablate(comparison: Comparison, pool: ProcessPoolExecutor, seeds: int) -> None:
    """What each part is worth at loads .5, 1 and 2."""
    loads = (0.5, 1.0, 2.0)
    names = [*SCORPIO, *GUARDS, OURS, *(variant.name for variant in VARIANTS)]
    names.sort(key=lambda name: (name not in SCORPIO and not name.startswith("scorpio, "), name))
    found = cells(comparison.rows(pool, names, loads, seeds), names)
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


def _over(value: float, of: float) -> float:
    return min(value / of, 99.0) if of else 99.0


def _ratio(found: Interval) -> str:
    return f"{found.mean:.2f} ±{found.half:.2f}"


if __name__ == "__main__":
    sys.exit(main())
