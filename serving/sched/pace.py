"""When every running request's next token is due, and what room that leaves in a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from serving.sched.latency import LatencyModel
from serving.sched.line import tpot_of
from serving.sched.request import RequestView, num_tokens

MARGIN = 0.95
"""Steps are planned to end within this share of the time that is left: they jitter."""


@dataclass(frozen=True, slots=True)
class Round:
    """The decodes of a step.

    ``decodes``: who takes part, in the order they were given in. ``context_tokens``: the sum of
    their lengths. ``ends_s``: what the step may take to keep all of them on pace, in seconds;
    infinite without decodes.
    """

    decodes: Sequence[RequestView]
    context_tokens: int
    ends_s: float


NOBODY = Round((), 0, inf)


def slack_s(request: RequestView, now_s: float, step_s: float) -> float:
    """How long from now its next token may take; below ``step_s`` only if it is lost.

    TPOT is a mean, so a token is due at ``first token + S_TP · (tokens so far)``: what was earlier
    than that is time in hand, which a long prompt may use. Who is behind is given the even share of
    what is left until its predicted end, so that it catches up; if not even steps of ``step_s``,
    a decode of the virtual batch, could save it, it is lost and holds nobody up.
    """
    assert request.first_token_s is not None
    tpot_s = tpot_of(request)
    given = request.num_generated_tokens
    due_s = request.first_token_s + tpot_s * given - now_s
    if due_s >= step_s:
        return due_s
    left = request.predicted_tokens - given
    if left <= 1:
        return due_s
    share_s = (due_s + tpot_s * (left - 1)) / left
    return share_s if share_s >= step_s else due_s


def next_round(requests: Sequence[RequestView], now_s: float, latency: LatencyModel) -> Round:
    """Everybody who decodes, as long as that keeps those on pace that can be kept.

    If all together take longer than the tightest can wait, the loosest skip the step: they have the
    most time in hand. The lost come last, as far as there is room; the one furthest behind always
    takes part, so that each of them ends.
    """
    if not requests:
        return NOBODY
    context, rate, tightest_s, ends_s = 0, 0.0, inf, inf
    for request in requests:
        given, tpot_s = request.num_generated_tokens, tpot_of(request)
        assert request.first_token_s is not None
        due_s = request.first_token_s + tpot_s * given - now_s
        context += request.num_prompt_tokens + given
        rate += 1 / tpot_s
        tightest_s = min(tightest_s, tpot_s)
        ends_s = min(ends_s, due_s)
    length = context / len(requests)
    step_s = latency.decode_s(tightest_s * rate, length)
    if ends_s < step_s:
        ends_s = min(slack_s(request, now_s, step_s) for request in requests)
    if ends_s * MARGIN >= latency.decode_s(len(requests), length):
        return Round(requests, context, ends_s * MARGIN)
    slacks = [(slack_s(request, now_s, step_s), request) for request in requests]
    return _choose(slacks, step_s, latency)


def _choose(slacks: list[tuple[float, RequestView]], step_s: float, latency: LatencyModel) -> Round:
    kept = sorted((entry for entry in slacks if entry[0] >= step_s), key=_urgency)
    lost = sorted((entry for entry in slacks if entry[0] < step_s), key=_urgency)
    own_pace = [(max(tpot_of(request), 2 * step_s), request) for _, request in lost]
    chosen: set[str] = set()
    context = 0
    ends_s = inf
    for order in (kept, own_pace):
        for number, (wait_s, request) in enumerate(order):
            bound_s = min(ends_s, wait_s * MARGIN)
            grown = context + num_tokens(request)
            if number and latency.decode_s(len(chosen) + 1, grown / (len(chosen) + 1)) > bound_s:
                break
            chosen.add(request.request_id)
            context = grown
            ends_s = bound_s
    decodes = [request for _, request in slacks if request.request_id in chosen]
    return Round(decodes, context, ends_s)


def _urgency(entry: tuple[float, RequestView]) -> tuple[float, str]:
    return entry[0], entry[1].request_id
