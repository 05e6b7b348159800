"""A request's objectives in ``vllm_xargs``, the field that vLLM hands through to its scheduler."""

from collections.abc import Mapping
from math import inf
from typing import Any

from serving.sched.request import Slo

TTFT, TPOT = "slo_ttft_ms", "slo_tpot_ms"


class BadObjective(ValueError):
    """One is no number of milliseconds above 0."""


def objectives_in(xargs: Mapping[str, Any] | None) -> Slo:
    """What a request wants. Raises BadObjective."""
    given = xargs or {}
    return Slo(_seconds(given.get(TTFT)), _seconds(given.get(TPOT)))


def as_xargs(slo: Slo) -> dict[str, float]:
    """The other way."""
    wanted = {TTFT: slo.ttft_s, TPOT: slo.tpot_s}
    return {name: seconds * 1000 for name, seconds in wanted.items() if seconds is not None}


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    try:
        ms = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        ms = 0.0
    if not 0 < ms < inf:
        raise BadObjective(f"{value!r} is no number of milliseconds above 0")
    return ms / 1000
