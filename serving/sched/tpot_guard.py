"""SCORPIO's TPOT Guard: virtual batch size decides who starts, credits who takes part in a step."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

import numpy as np

from serving.sched.latency import LatencyModel
from serving.sched.line import Line, tpot_of
from serving.sched.request import RequestView, num_tokens

ROUNDING = 1e-9
"""What sums of shares may lack of 1 for no other reason than being floats."""


@dataclass(slots=True)
class Mix:
    """The objectives of a set of running requests, summed up as far as admission needs them.

    ``tightest_s``: the least TPOT objective; ``rate``: the sum of their inverses, tokens a second
    promised; ``context_tokens``: the sum of their lengths.
    """

    num_seqs: int = 0
    tightest_s: float = inf
    rate: float = 0.0
    context_tokens: int = 0

    def with_(self, request: RequestView) -> "Mix":
        """The mix with one more."""
        tpot_s = tpot_of(request)
        return Mix(
            self.num_seqs + 1,
            min(self.tightest_s, tpot_s),
            self.rate + 1 / tpot_s,
            self.context_tokens + num_tokens(request),
        )

    @property
    def virtual_batch_size(self) -> float:
        """``VBS(R) = Σ TRP(r)`` with ``TRP(r) = min S_TP / S_TP(r)``."""
        return self.tightest_s * self.rate if self.num_seqs else 0.0

    @property
    def mean_context(self) -> float:
        """Mean length, tokens."""
        return self.context_tokens / self.num_seqs if self.num_seqs else 0.0


@dataclass(slots=True)
class TpotGuard:
    """Keeps the expected TPOT below the tightest objective (arXiv 2505.23022, §4.2).

    ``inefficiency``: the paper's ε, 1.3 in every published run. ``margin``: 1 in the paper; 0.99 in
    the released code, and "below" instead of "at most". ``bypass``: as in the released code, those
    with the tightest objective take part without touching their credit; in the paper they gain and
    spend 1 each step, which is the same until somebody tighter comes.
    """

    latency: LatencyModel
    inefficiency: float = 1.3
    margin: float = 1.0
    bypass: bool = False
    _credits: dict[str, float] = field(default_factory=dict)
    _objectives: Counter[float] = field(default_factory=Counter)

    def started(self, request: RequestView) -> None:
        """It runs, with no credit yet."""
        self._credits[request.request_id] = 0.0
        self._objectives[tpot_of(request)] += 1

    def ended(self, request: RequestView) -> None:
        """It runs no more."""
        del self._credits[request.request_id]
        tpot_s = tpot_of(request)
        self._objectives[tpot_s] -= 1
        if not self._objectives[tpot_s]:
            del self._objectives[tpot_s]

    @property
    def tightest_s(self) -> float:
        """The least TPOT objective of those that run."""
        return min(self._objectives, default=inf)

    def mix(self, context_tokens: int) -> Mix:
        """The mix that runs; summed afresh, so that nothing drifts."""
        rate = sum(count / tpot_s for tpot_s, count in self._objectives.items())
        return Mix(self._objectives.total(), self.tightest_s, rate, context_tokens)

    def tpot_s(self, mix: Mix, predicted_tokens: float) -> float:
        """``ε·ITL`` averaged over the next steps, while everybody grows by one token a step."""
        length = mix.mean_context + predicted_tokens / 2
        return self.inefficiency * self.latency.decode_s(mix.virtual_batch_size, length)

    def admits(self, mix: Mix, request: RequestView) -> bool:
        """Whether with ``request`` in it the mix keeps its tightest objective."""
        grown = mix.with_(request)
        return self.tpot_s(grown, request.predicted_tokens) <= self.margin * grown.tightest_s

    def first_admissible(self, mix: Mix, line: Line, start: int) -> int | None:
        """The first place of the line, from ``start``, whose request :meth:`admits`.

        Requests that were given a token were admitted before, and are again.
        """
        tpot_s = line.tpot_s[start:]
        tightest_s = np.minimum(tpot_s, mix.tightest_s)
        seqs = tightest_s * (mix.rate + 1 / tpot_s)
        mean = (mix.context_tokens + line.lengths[start:]) / (mix.num_seqs + 1)
        length = mean + line.predicted_tokens[start:] / 2
        expected_s = self.inefficiency * self.latency.decodes_s(seqs, length)
        fits = (expected_s <= self.margin * tightest_s) | line.has_tokens[start:]
        return start + int(fits.argmax()) if fits.any() else None

    def admissible(self, mix: Mix, line: Line) -> Iterator[RequestView]:
        """All of the line that fit, one after another, the rest passed over.

        Asked for another, it counts the last one as running.
        """
        place = self.first_admissible(mix, line, 0)
        while place is not None:
            yield line[place]
            mix = mix.with_(line[place])
            place = self.first_admissible(mix, line, place + 1)

    def take_part(self, decoding: list[RequestView]) -> list[RequestView]:
        """Who decodes in this step: each gains its TRP, and spends 1 when it has it."""
        tightest_s = min(map(tpot_of, decoding), default=inf)
        held = self._credits
        chosen = []
        for request in decoding:
            tpot_s = tpot_of(request)
            if self.bypass and tpot_s == tightest_s:
                chosen.append(request)
                continue
            credit = held[request.request_id] + tightest_s / tpot_s
            if credit >= 1 - ROUNDING:
                credit -= 1
                chosen.append(request)
            held[request.request_id] = credit
        return chosen
