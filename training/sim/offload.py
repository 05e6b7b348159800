"""Steps of ZenFlow and of synchronous offload on a clock that is a number: all of it SIMULATED."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadTimes:
    """Seconds for all weights together; columns that the device owns cost the host nothing.

    ``step_s``: the device computes, a third of it forward. ``adamw_s``, ``cast_s``: the host
    updates masters and casts them. ``widen_s``, ``add_s``: it takes the first gradient of a window,
    and each other. ``link_s``: they cross the link, in either direction.
    """

    step_s: float
    adamw_s: float
    cast_s: float
    widen_s: float
    add_s: float
    link_s: float
    layers: int


def synchronous_s(times: OffloadTimes) -> float:
    """A step of ZeRO-Offload: gradients leave in the backward pass, values come behind AdamW."""
    part = 1 / times.layers
    gone = widened = 0.0
    for layer in range(1, times.layers + 1):
        there = times.step_s * (1 / 3 + 2 / 3 * layer * part)
        gone = max(gone, there) + times.link_s * part
        widened = max(widened, gone) + times.widen_s * part
    updated, back = max(times.step_s, widened), 0.0
    for _ in range(times.layers):
        updated += (times.adamw_s + times.cast_s) * part
        back = max(back, updated) + times.link_s * part
    return back


def zenflow_s(times: OffloadTimes, *, share: float, interval: int, windows: int = 8) -> float:
    """A step of ZenFlow with this share of the columns on the device, mean of whole windows.

    The host adds gradients first, and works off the last window in the time between.
    """
    rest = 1 - share
    now = start = host = backlog = 0.0
    added = 0.0
    for window in range(windows + 2):
        if window == 2:  # the pipeline is filled
            start = now
        for step in range(interval):
            now = max(now + times.step_s, added)
            cost = rest * (times.add_s if step else times.widen_s)
            idle = max(0.0, now - host)
            backlog = max(0.0, backlog - idle)
            host = max(host, now) + max(cost, rest * times.link_s)
            added = host
        if backlog:  # what is left of the last window is waited for, behind what has just come
            now = host = added + backlog
        now += rest * times.link_s / times.layers * bool(backlog)
        backlog = rest * (times.adamw_s + times.cast_s)
    return (now - start) / (windows * interval)
