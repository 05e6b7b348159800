"""The contract between whoever runs requests and whoever decides about them."""

from typing import Protocol

from serving.sched.decision import Decision
from serving.sched.engine import EngineView
from serving.sched.request import RequestView


class Policy(Protocol):
    """Decides step by step; told of every arrival and end, it keeps its own order of both.

    The caller promises: ids are unique; ``arrive`` once for each request; every decision is carried
    out before the next call, or what could not be is told by ``requeue``; views move only as
    decisions say. The policy promises: every step is within the limits it was made with and within
    the free KV blocks; who was given a token is never rejected; a rejected request is forgotten and
    never runs; equal calls give equal decisions. Calls are not thread-safe.
    """

    @property
    def name(self) -> str:
        """What it is called on command lines and in tables."""
        ...

    @property
    def num_waiting(self) -> int:
        """Requests that wait."""
        ...

    @property
    def num_running(self) -> int:
        """Requests that run, those that skip steps included."""
        ...

    def arrive(self, request: RequestView) -> None:
        """A new request waits."""
        ...

    def leave(self, request: RequestView) -> None:
        """A request ended or was cancelled, waiting or running; unknown ones are ignored."""
        ...

    def requeue(self, request: RequestView) -> None:
        """A running request lost its KV blocks by the engine's own doing and waits again."""
        ...

    def decide(self, engine: EngineView) -> Decision:
        """The next step. Costs at most about a millisecond at 256 running and 2,000 waiting."""
        ...
