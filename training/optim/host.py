"""The host beside a device: it adds up gradients as they come, works them off, and sends values."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from training.optim.adamw import Rates
from training.optim.adding import TOGETHER
from training.optim.link import Link
from training.optim.matrix import Matrix
from training.optim.traffic import Traffic

Work = Sequence[tuple[Matrix, Rates]]
"""Matrices to update, and how."""

ROOM = 1 << 20
"""Numbers that are added up before they are used: they fit into a cache, and cost few calls."""


@dataclass(slots=True)
class _Shift:
    """A window that is worked off, matrix by matrix."""

    work: Work
    window: int
    before: "_Shift | None"
    """The one that is done first, and whose values are cast before they are changed again."""
    sent: list[Future[None]] = field(default_factory=list)
    arrived: list[tuple[Matrix, torch.Tensor]] = field(default_factory=list)
    """What is on the device, and the device has not seen."""
    done: Future[None] = field(default_factory=Future)
    """All is sent, if not there yet."""


class Host:
    """Three threads: one waits for copies to the host, one computes, one for copies back.

    Each does one thing after the other in the order asked. A window is worked off matrix by matrix,
    and gradients that are to be added meanwhile go first, as they take memory. What fails in a
    thread is raised by whoever waits for it.
    """

    def __init__(self, link: Link, traffic: Traffic) -> None:
        self._link = link
        self._traffic = traffic
        self._down, self._thread, self._up = (
            ThreadPoolExecutor(1, thread_name_prefix=f"zenflow-{name}")
            for name in ("down", "host", "up")
        )
        self._taken: list[Future[Future[None] | None]] = []
        self._adding: deque[list[Future[None]]] = deque()
        """Additions of the last steps."""
        self._shifts: deque[_Shift] = deque()
        """Windows whose values the device has not seen, the oldest first: at most two."""
        self._room = torch.empty(ROOM)

    @property
    def is_working(self) -> bool:
        """Whether a window is not worked off yet, or not all of it is on the device."""
        for shift in self._shifts:
            if not shift.done.done():
                return True
            if shift.done.exception() is None and not all(each.done() for each in shift.sent):
                return True
        return False

    def look(self, flag: torch.Tensor) -> Future[bool]:
        """Whether something on the device is not 0."""
        mark = self._link.mark()
        return self._down.submit(lambda: bool(self._link.to_host(flag, mark)))

    def take(self, matrix: Matrix, window: int, is_left_out: Future[bool] | None = None) -> None:
        """Have the rest of a matrix' gradient, as it is now, added to a window.

        Unless it ``is_left_out``, which was looked at before.
        """
        sent, mark = matrix.deferred(), self._link.mark()
        self._taken.append(
            self._down.submit(self._receive, matrix, window, sent, mark, is_left_out)
        )

    def work_off(self, work: Work, window: int) -> None:
        """Have matrices updated by a window, after all gradients that were taken until now.

        The one before need not be finished.
        """
        shift = _Shift(work, window, self._shifts[-1] if self._shifts else None)
        self._shifts.append(shift)
        self._down.submit(self._begin, shift)

    def send(self, matrices: Sequence[Matrix]) -> None:
        """Have matrices sent to the device as the host has them."""
        shift = _Shift((), 0, None)
        self._shifts.append(shift)
        shift.sent += [self._up.submit(self._send, each, shift) for each in matrices]
        shift.done.set_result(None)

    def settle(self) -> None:
        """Wait until the gradients that were taken are off the device.

        For their additions that is not waited, but for those that more gradients than memory is
        meant for would be kept without. Raises what failed.
        """
        with self._waiting():
            taken, self._taken = self._taken, []
            arrived = [each.result() for each in taken]
            self._adding.append([added for added in arrived if added is not None])
            while len(self._adding) >= TOGETHER:
                for added in self._adding.popleft():
                    added.result()

    def finish(self) -> list[tuple[Matrix, torch.Tensor]]:
        """Wait until the oldest window is worked off; what the device is to see of it.

        Raises what failed.
        """
        if not self._shifts:
            return []
        with self._waiting():
            shift = self._shifts.popleft()
            shift.done.result()
            for upload in shift.sent:
                upload.result()
        arrived, shift.arrived = shift.arrived, []  # the next one may look at the shift yet
        return arrived

    def rest(self) -> None:
        """Wait until nothing is left to do. Raises what failed."""
        self.settle()
        with self._waiting():
            while self._adding:
                for added in self._adding.popleft():
                    added.result()
            for shift in self._shifts:
                shift.done.result()
                for upload in shift.sent:
                    upload.result()

    def close(self) -> None:
        """End the threads."""
        for each in (self._down, self._thread, self._up):
            each.shutdown()

    def _receive(
        self,
        matrix: Matrix,
        window: int,
        sent: torch.Tensor,
        mark: Any,
        is_left_out: Future[bool] | None,
    ) -> Future[None] | None:
        arrived = self._link.to_host(sent, mark)
        self._traffic.to_host_nbytes += arrived.nbytes
        if is_left_out is not None and is_left_out.result():
            return None
        is_time = matrix.windows[window].add(arrived)
        return self._thread.submit(matrix.windows[window].fold) if is_time else None

    def _begin(self, shift: _Shift) -> None:
        if shift.before is None:
            self._thread.submit(self._update, shift)
        else:
            shift.before.done.add_done_callback(lambda _: self._thread.submit(self._update, shift))

    def _update(self, shift: _Shift) -> None:
        """The next matrix of a window; the one after it queues up behind what has come."""
        number = len(shift.sent)
        try:
            if number == len(shift.work):
                shift.before = None
                shift.done.set_result(None)
                return
            if shift.before is not None:
                wait(shift.before.sent[number : number + 1])
            matrix, rates = shift.work[number]
            matrix.update_host(shift.window, rates, self._room)
            shift.sent.append(self._up.submit(self._send, matrix, shift))
            self._thread.submit(self._update, shift)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            shift.done.set_exception(error)

    def _send(self, matrix: Matrix, shift: _Shift) -> None:
        with torch.no_grad():
            sent = matrix.host.values.to(matrix.parameter.dtype, copy=True)
        shift.arrived.append((matrix, self._link.to_device(sent)))
        self._traffic.to_device_nbytes += sent.nbytes

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._traffic.waited_s += time.perf_counter() - start
