"""What a policy says about one step."""

from dataclasses import dataclass, field
from enum import StrEnum

from serving.sched.request import RequestView


class Reason(StrEnum):
    """Why a request was refused: a word for machines."""

    TTFT = "ttft_unattainable"
    """Its first token would come too late."""
    TPOT = "tpot_unattainable"
    """Its tokens would come too slowly, or slow others down beyond their objectives."""
    QUEUE = "queue_full"
    """Too many are waiting."""
    LENGTH = "too_long"
    """It never fits: prompt and ``max_tokens`` exceed the KV pool or a step."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refusal. ``retry_after_s``: when asking again could help, seconds from now; None: never."""

    request: RequestView
    reason: Reason
    retry_after_s: float | None


@dataclass(slots=True)
class Decision:
    """One step. An engine carries it out in this order, as a whole.

    ``reject``: waiting requests that get no answer; they have been given no token. ``preempt``:
    running requests that give their KV blocks back and wait again; not in ``tokens``. ``admit``:
    waiting requests that run from now on. ``tokens``: who takes part in this step and with how many
    of its pending tokens, by ``request_id``; running requests that are not named keep their KV
    blocks and skip the step. All KV blocks this takes are free after ``preempt``.

    ``again_s``: with empty ``tokens`` and nothing arriving or ending, decide again at this time, in
    seconds on the engine's clock; None: there is nothing to wait for.
    """

    reject: list[Rejection] = field(default_factory=list)
    preempt: list[RequestView] = field(default_factory=list)
    admit: list[RequestView] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    again_s: float | None = None
