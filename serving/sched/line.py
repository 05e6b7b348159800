"""The waiting queue, with what guards ask of everybody in it kept as columns of numbers."""

from collections.abc import Callable
from math import inf

import numpy as np
from numpy.typing import NDArray

from serving.sched.latency import LatencyModel, Vector
from serving.sched.ordered import Key, Ordered
from serving.sched.request import (
    RequestView,
    num_pending_tokens,
    num_tokens,
    num_tokens_at_end,
)

BEST_EFFORT_TPOT_S = 1.0
"""What a request without a TPOT objective counts as: one token a second keeps it alive."""

_DUE, _PENDING, _PREFILL, _LENGTH, _PREDICTED, _AT_END, _TPOT, _HAS_TOKENS = range(8)


def tpot_of(request: RequestView) -> float:
    """Its TPOT objective, seconds."""
    tpot_s = request.slo.tpot_s
    return BEST_EFFORT_TPOT_S if tpot_s is None else tpot_s


class Line(Ordered):
    """Requests in order; a question about all of them is one vector operation, not a loop.

    What the columns say is taken when a request joins, prefix hits and latency model included, and
    stays until :meth:`look_again` comes by.
    """

    def __init__(self, key: Callable[[RequestView], Key], latency: LatencyModel) -> None:
        super().__init__(key)
        self._latency = latency
        self._columns = np.empty((8, 64))
        self._next = 0

    def add(self, request: RequestView) -> int:
        """Put a request in its place; which that is."""
        place = super().add(request)
        end = len(self)
        if end > self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.empty_like(self._columns)], axis=1)
        self._columns[:, place + 1 : end] = self._columns[:, place : end - 1]
        pending = num_pending_tokens(request)
        bound = request.slo.ttft_s is not None and not request.num_generated_tokens
        self._columns[:, place] = (
            request.arrival_s + (request.slo.ttft_s or 0.0) if bound else inf,
            pending,
            self._latency.prefill_s(pending),
            num_tokens(request),
            request.predicted_tokens,
            num_tokens_at_end(request),
            tpot_of(request),
            request.num_generated_tokens > 0,
        )
        return place

    def remove(self, request: RequestView) -> int | None:
        """Take a request out; the place it had, or None."""
        place = super().remove(request)
        if place is not None:
            end = len(self)
            self._columns[:, place:end] = self._columns[:, place + 1 : end + 1]
        return place

    def look_again(self, count: int) -> None:
        """Take anew what the next ``count`` have to compute, in turn: prefix hits come and go."""
        if self._next >= len(self):
            self._next = 0
        end = min(len(self), self._next + count)
        for place in range(self._next, end):
            pending = num_pending_tokens(self[place])
            if pending != self._columns[_PENDING, place]:
                self._columns[_PENDING, place] = pending
                self._columns[_PREFILL, place] = self._latency.prefill_s(pending)
        self._next = end

    @property
    def due_s(self) -> Vector:
        """When first tokens are due; infinite for those that may not be rejected for it."""
        return self._columns[_DUE, : len(self)]

    @property
    def pending_tokens(self) -> Vector:
        """Tokens to compute before the first token."""
        return self._columns[_PENDING, : len(self)]

    @property
    def prefill_s(self) -> Vector:
        """What computing them takes alone, seconds."""
        return self._columns[_PREFILL, : len(self)]

    @property
    def lengths(self) -> Vector:
        """Tokens known so far."""
        return self._columns[_LENGTH, : len(self)]

    @property
    def predicted_tokens(self) -> Vector:
        """Predicted outputs."""
        return self._columns[_PREDICTED, : len(self)]

    @property
    def tokens_at_end(self) -> Vector:
        """Tokens that they are expected to end with."""
        return self._columns[_AT_END, : len(self)]

    @property
    def tpot_s(self) -> Vector:
        """TPOT objectives, seconds."""
        return self._columns[_TPOT, : len(self)]

    @property
    def has_tokens(self) -> NDArray[np.bool_]:
        """Who was given a token before it was preempted."""
        return self._columns[_HAS_TOKENS, : len(self)] > 0
