"""Steps of ZenFlow and of synchronous offload on a clock that is a number: all of it SIMULATED."""

from collections import deque
from dataclasses import dataclass

TOGETHER = 4
"""Gradients that the host adds at a time, as training.optim.adding has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadTimes:
    """Seconds for all weights together; columns that the device owns cost the host nothing.

    ``step_s``: the device computes, a third of it forward. ``adamw_s``: the host updates masters.
    ``widen_s``: it takes a gradient alone; ``fold_s``: it adds up four; ``last_s``: four that it
    updates by at once, beside ``adamw_s``. ``cast_s``: it casts masters, on the thread that sends
    them. ``link_s``: they cross the link, in either direction.
    """

    step_s: float
    adamw_s: float
    cast_s: float
    widen_s: float
    fold_s: float
    last_s: float
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
        updated += times.adamw_s * part
        back = max(back, updated) + (times.cast_s + times.link_s) * part
    return back


def floor_s(times: OffloadTimes, *, share: float, interval: int) -> float:
    """No step of ZenFlow is shorter, however its parts are laid beside each other.

    Device, link and the host's thread each have their own work of a step to do: ``max(device,
    (1 - k) link, (1 - k)(S gradients added + AdamW) / S)``. Where it is the device's, the gain over
    synchronous offload is at most (device + host + link) / device; where it is the host's, the
    device stands still for the rest.
    """
    folds = (interval - 1) // TOGETHER
    host = (1 - share) * (folds * times.fold_s + _closing_s(times, interval)) / interval
    return max(times.step_s, (1 - share) * times.link_s, host)


def zenflow_s(times: OffloadTimes, *, share: float, interval: int, windows: int = 8) -> float:
    """A step of ZenFlow, mean of whole windows.

    Gradients that came in a step are added, when it is time to, before the last window is gone on
    with; the device waits for that when it would come with as many again. What is left of the last
    window when this one is full is waited for by the device, not by the host.
    """
    rest = 1 - share
    now = start = host = gone = backlog = 0.0
    added: deque[float] = deque([0.0] * TOGETHER)
    for window in range(windows + 2):
        if window == 2:  # the pipeline is filled
            start = now
        for step in range(1, interval + 1):
            now = max(now + times.step_s, gone, added.popleft())
            gone = now + rest * times.link_s
            backlog = max(0.0, backlog - max(0.0, now - host))
            host = max(host, now)
            if step % TOGETHER == 1 and step > 1:
                host += rest * times.fold_s
                added.append(host)
            else:
                added.append(0.0)
        tail = rest * (times.cast_s + times.link_s) / times.layers if backlog else 0.0
        host += backlog
        now, host = max(now, host + tail) if backlog else now, max(host, gone)
        backlog = rest * _closing_s(times, interval)
    return (now - start) / (windows * interval)


def _closing_s(times: OffloadTimes, interval: int) -> float:
    """AdamW, and the window's last gradients added for it."""
    return times.adamw_s + ((interval - 1) % TOGETHER + 1) / TOGETHER * times.last_s
