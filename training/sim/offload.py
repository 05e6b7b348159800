"""Steps of ZenFlow and of synchronous offload on a clock that is a number: all of it SIMULATED."""

from dataclasses import dataclass

TOGETHER = 4
"""Gradients that the host adds at a time, as training.optim.adding has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadTimes:
    """Seconds for all weights together; columns that the device owns cost the host nothing.

    ``step_s``: the device computes, a third of it forward. ``adamw_s``, ``cast_s``: the host
    updates masters and casts them. ``widen_s``: it takes a gradient alone; ``fold_s``: it adds up
    to four. ``link_s``: they cross the link, in either direction.
    """

    step_s: float
    adamw_s: float
    cast_s: float
    widen_s: float
    fold_s: float
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


def window_s(times: OffloadTimes, *, share: float, interval: int) -> float:
    """What a window of ZenFlow is for the host, with this share of the columns on the device."""
    folds = -(-interval // TOGETHER)
    return (1 - share) * (folds * times.fold_s + times.adamw_s + times.cast_s)


def floor_s(times: OffloadTimes, *, share: float, interval: int) -> float:
    """No step of ZenFlow is shorter, however its parts are laid beside each other.

    Device, link and host each have their own work of a step to do: ``max(device, (1 - k) link,
    host's window / S)``. Where it is the device's, the gain over synchronous offload is at most
    (device + host + link) / device; where it is the host's, the device stands still for the rest.
    """
    host = window_s(times, share=share, interval=interval) / interval
    return max(times.step_s, (1 - share) * times.link_s, host)


def zenflow_s(times: OffloadTimes, *, share: float, interval: int, windows: int = 8) -> float:
    """A step of ZenFlow, mean of whole windows.

    Gradients that came in a step are added, when it is time to, before the last window is gone on
    with; what is left of that when this one is full is waited for.
    """
    rest = 1 - share
    now = start = host = arrived = backlog = 0.0
    for window in range(windows + 2):
        if window == 2:  # the pipeline is filled
            start = now
        for step in range(1, interval + 1):
            now = max(now + times.step_s, arrived)
            arrived = now + rest * times.link_s
            backlog = max(0.0, backlog - max(0.0, now - host))
            host = max(host, now)
            if step % TOGETHER == 1 and step > 1:
                host += rest * times.fold_s
        if backlog:
            now = host = max(host, arrived) + backlog
            now += rest * times.link_s / times.layers
        backlog = window_s(times, share=share, interval=interval)
        backlog -= rest * times.fold_s * ((interval - 1) // TOGETHER)
    return (now - start) / (windows * interval)
