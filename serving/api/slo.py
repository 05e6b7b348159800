"""Objectives of a request: llm-d's headers, their older spelling, or a field of the body."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from serving.api.errors import ApiError
from serving.sched.request import Slo

PREFIXES = ("x-llm-d-slo-", "x-slo-")
"""The canonical one wins."""


class SloField(BaseModel):
    """``slo`` in a body; what headers say comes first."""

    model_config = ConfigDict(extra="forbid")

    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)


def slo_of(headers: Mapping[str, str], field: SloField | None) -> Slo:
    """The objectives in seconds. Raises ApiError for a header that is no positive number."""
    field = field or SloField()
    ttft_ms = _header(headers, "ttft-ms")
    tpot_ms = _header(headers, "tpot-ms")
    return Slo(
        _seconds(field.ttft_ms if ttft_ms is None else ttft_ms),
        _seconds(field.tpot_ms if tpot_ms is None else tpot_ms),
    )


def _header(headers: Mapping[str, str], name: str) -> float | None:
    for prefix in PREFIXES:
        text = headers.get(prefix + name)
        if text is None:
            continue
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ApiError(400, f"{prefix}{name} is a number of milliseconds above 0, not {text!r}")
        return value
    return None


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


@dataclass(slots=True)
class Timing:
    """When an answer's tokens came, seconds on the engine's clock, and what that makes of it."""

    arrival_s: float
    slo: Slo
    first_s: float | None = None
    last_s: float | None = None
    num_tokens: int = 0

    def add(self, at_s: float) -> float | None:
        """One more token; returns seconds since the one before, None for the first."""
        gap = None if self.last_s is None else at_s - self.last_s
        self.first_s = at_s if self.first_s is None else self.first_s
        self.last_s = at_s
        self.num_tokens += 1
        return gap

    @property
    def ttft_s(self) -> float | None:
        """Time to the first token."""
        return None if self.first_s is None else self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time of later tokens; None for fewer than two."""
        if self.first_s is None or self.last_s is None or self.num_tokens < 2:
            return None
        return (self.last_s - self.first_s) / (self.num_tokens - 1)

    @property
    def is_good(self) -> bool:
        """Whether what was asked for was met."""
        ttft_met = self.slo.ttft_s is None or (self.ttft_s or 0) <= self.slo.ttft_s
        tpot_met = self.slo.tpot_s is None or (self.tpot_s or 0) <= self.slo.tpot_s
        return ttft_met and tpot_met


def facts_of(timings: Sequence[Timing]) -> dict[str, float | bool | None]:
    """For the usage extension: the worst of all choices, and whether all met their objectives."""
    asked = timings[0].slo != Slo()
    return {
        "ttft_ms": _ms(_worst(timing.ttft_s for timing in timings)),
        "tpot_ms": _ms(_worst(timing.tpot_s for timing in timings)),
        "slo_met": all(timing.is_good for timing in timings) if asked else None,
    }


def headers_of(timings: Sequence[Timing], *, is_over: bool) -> dict[str, str]:
    """For the answer: what is known when its headers are sent, of a stream the TTFT alone."""
    facts = facts_of(timings)
    measured = {f"x-clade-{name}-ms": facts[f"{name}_ms"] for name in ("ttft", "tpot")}
    if not is_over:
        del measured["x-clade-tpot-ms"]
    return {name: f"{value:g}" for name, value in measured.items() if value is not None}


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
