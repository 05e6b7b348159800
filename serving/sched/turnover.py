"""How fast running requests leave, which is how fast places for others come free."""

from math import inf

HORIZON = 256
"""Departures that the estimate remembers: those before fade with this time constant."""


class Turnover:
    """Departures by the time that requests have spent running.

    ``departures / (requests · seconds)`` is the maximum-likelihood hazard of lifetimes of which
    most are still open (exponential lifetimes, right-censored). It asks for no predicted lengths:
    those of a single request are far off, and who has outlived its own says nothing.
    """

    def __init__(self) -> None:
        self._departures = 0.0
        self._lived_s = 0.0
        self._num_running = 0
        self._seen_s: float | None = None

    def observe(self, now_s: float, num_running: int) -> None:
        """So many run from now on, by the engine's clock in seconds."""
        if self._seen_s is not None:
            self._lived_s += self._num_running * (now_s - self._seen_s)
        self._seen_s, self._num_running = now_s, num_running

    def left(self) -> None:
        """One of those that ran has left."""
        keep = 1 - 1 / HORIZON
        self._departures = self._departures * keep + 1
        self._lived_s *= keep

    def per_second(self, num_running: int) -> float:
        """Departures to be expected of so many, at least 1; infinite before any was seen."""
        if not self._departures or not self._lived_s:
            return inf
        return num_running * self._departures / self._lived_s
