"""What a comparison of policies comes to: ratios to the best baselines, and promises missed."""

from collections.abc import Sequence

from bench.report import print_table
from bench.slo_variants import BASELINES, REJECTING
from serving.cli.table import Cell
from serving.sim.interval import Interval, interval

SCORPIO = ("scorpio", "scorpio-code")
OURS = "scorpio-plus"
LEAST_ON_TRACES = 1.2
"""Of the goodput of the best baseline that rejects, from load 1 up."""


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
            if best.mean < 1 and (load >= 1 or policy == OURS):
                missed.append(f"{name}, load {load:g}: {policy} has {_ratio(best)} of the best")
            promised = policy == OURS and "trace" in name and load >= 1
            if promised and rejecting.mean < LEAST_ON_TRACES:
                told = f"{policy} has {_ratio(rejecting)} of the best that rejects"
                missed.append(f"{name}, load {load:g}: {told}")
        line.append(f"{by[load, OURS].figure('adherence').mean:.3f}")
        lines.append(line)
    head = ["load"]
    for policy in (*SCORPIO, OURS):
        head += [f"{policy} / best", "/ best rejecting"]
    print_table(f"goodput ratios, {name}", [*head, "adherence of ours"], lines)
    policies = (*BASELINES, *SCORPIO, OURS)
    print_table(
        f"adherence by load, {name}; load up to which it is 90 % (0: never)",
        ["policy", *(f"{load:g}" for load in loads), "90 %"],
        [
            [
                policy,
                *(f"{by[load, policy].figure('adherence').mean:.3f}" for load in loads),
                f"{rate_at(by, loads, policy, 0.9):.2f}",
            ]
            for policy in policies
        ],
    )
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


def _over(value: float, of: float) -> float:
    return min(value / of, 99.0) if of else 99.0


def _ratio(found: Interval) -> str:
    return f"{found.mean:.2f} ±{found.half:.2f}"
