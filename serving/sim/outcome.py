"""What became of all requests of a run, counted."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.sim.request import SimRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOutcome:
    """One SLO class. Shares are of all its offered requests, rejected ones included."""

    offered: int
    adherence: float
    rejected: float
    ttft_met: float
    tpot_met: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run.

    ``adherence``: good requests / offered ones; ``rejected``: rejected / offered. ``goodput``: good
    requests a second over the time in which requests were offered, so that a policy that drains a
    long queue afterwards is not punished for it twice. ``p99_gap_s``: 99th percentile, over served
    requests, of the longest wait between two tokens. ``tokens``: generated in all.
    ``duration_s``: to the end of the last request.
    """

    offered: int
    adherence: float
    goodput: float
    rejected: float
    ttft_met: float
    tpot_met: float
    p99_gap_s: float
    p99_ttft_s: float
    tokens: int
    preemptions: int
    duration_s: float
    classes: dict[str, ClassOutcome]


def outcome(requests: Sequence[SimRequest], end_s: float) -> Outcome:
    """Count at least one request, all of which have ended."""
    whole = _shares(requests)
    arrivals = [request.arrival_s for request in requests]
    offered_s = max(arrivals) - min(arrivals)
    served = [request for request in requests if request.rejection is None]
    names = sorted({request.slo_class for request in requests})
    return Outcome(
        offered=whole.offered,
        adherence=whole.adherence,
        goodput=whole.adherence * whole.offered / (offered_s or end_s),
        rejected=whole.rejected,
        ttft_met=whole.ttft_met,
        tpot_met=whole.tpot_met,
        p99_gap_s=_p99([request.max_gap_s for request in served]),
        p99_ttft_s=_p99([ttft_s for r in served if (ttft_s := r.ttft_s) is not None]),
        tokens=sum(request.num_generated_tokens for request in requests),
        preemptions=sum(request.num_preemptions for request in requests),
        duration_s=end_s,
        classes={
            name: _shares([request for request in requests if request.slo_class == name])
            for name in names
        },
    )


def _shares(requests: Sequence[SimRequest]) -> ClassOutcome:
    count = len(requests)
    return ClassOutcome(
        offered=count,
        adherence=sum(request.is_good for request in requests) / count,
        rejected=sum(request.rejection is not None for request in requests) / count,
        ttft_met=sum(request.meets_ttft for request in requests) / count,
        tpot_met=sum(request.meets_tpot for request in requests) / count,
    )


def _p99(values: list[float]) -> float:
    """Nearest rank; 0 without values."""
    values.sort()
    return values[-(-len(values) * 99 // 100) - 1] if values else 0.0
