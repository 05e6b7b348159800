"""The host beside a device: it adds up gradients as they come, works them off, and sends values."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from training.optim.adamw import Rates
from training.optim.link import Link
from training.optim.matrix import Matrix
from training.optim.traffic import Traffic

Work = Sequence[tuple[Matrix, Rates]]
"""Matrices to update, and how."""


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
        self._working: Future[list[Future[None]]] | None = None
        self._room = torch.empty(0)
        """Where gradients are added up, of one matrix after the other."""

    @property
    def is_working(self) -> bool:
        """Whether a window is not worked off yet, or not all of it is on the device."""
        working = self._working
        if working is None:
            return False
        if not working.done() or working.exception() is not None:
            return not working.done()
        return not all(upload.done() for upload in working.result())

    def take(self, matrix: Matrix, window: int) -> None:
        """Have the rest of a matrix' gradient, as it is now, added to a window."""
        sent = matrix.deferred()
        self._taken.append(
            self._down.submit(self._receive, matrix, window, sent, self._link.mark())
        )

    def work_off(self, work: Work, window: int) -> None:
        """Have matrices updated by a window, after all gradients that were taken until now."""
        done = self._working = Future()
        self._down.submit(self._begin, work, window, done, self._link.mark())

    def send(self, matrices: Sequence[Matrix]) -> None:
        """Have matrices sent to the device as the host has them."""
        done = self._working = Future()
        mark = self._link.mark()
        done.set_result([self._up.submit(self._send, each, mark) for each in matrices])

    def settle(self) -> None:
        """Wait until the gradients that were taken are off the device, and added if it is time.

        Raises what failed.
        """
        with self._waiting():
            taken, self._taken = self._taken, []
            for each in taken:
                if (added := each.result()) is not None:
                    added.result()

    def finish(self) -> None:
        """Wait until the last window is worked off and on the device. Raises what failed."""
        with self._waiting():
            working, self._working = self._working, None
            for upload in working.result() if working is not None else ():
                upload.result()

    def close(self) -> None:
        """End the threads."""
        for each in (self._down, self._thread, self._up):
            each.shutdown()

    def _receive(
        self, matrix: Matrix, window: int, sent: torch.Tensor, mark: Any
    ) -> Future[None] | None:
        arrived = self._link.to_host(sent, mark)
        self._traffic.to_host_nbytes += arrived.nbytes
        is_time = matrix.windows[window].add(arrived)
        return self._thread.submit(matrix.windows[window].fold) if is_time else None

    def _begin(self, work: Work, window: int, done: Future[list[Future[None]]], mark: Any) -> None:
        self._thread.submit(self._update, work, window, done, mark, [])

    def _update(
        self,
        work: Work,
        window: int,
        done: Future[list[Future[None]]],
        mark: Any,
        sent: list[Future[None]],
    ) -> None:
        """The next matrix of a window; the one after it queues up behind what has come."""
        try:
            if len(sent) == len(work):
                done.set_result(sent)
                return
            matrix, rates = work[len(sent)]
            matrix.update_host(window, rates, self._room_for)
            sent.append(self._up.submit(self._send, matrix, mark))
            self._thread.submit(self._update, work, window, done, mark, sent)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            done.set_exception(error)

    def _room_for(self, shape: torch.Size) -> torch.Tensor:
        if self._room.numel() < shape.numel():
            self._room = torch.empty(shape)
        return self._room.view(-1)[: shape.numel()].view(shape)

    def _send(self, matrix: Matrix, mark: Any) -> None:
        with torch.no_grad():
            sent = matrix.host.values.to(matrix.parameter.dtype)
        matrix.arrived = self._link.to_device(sent, mark)
        self._traffic.to_device_nbytes += sent.nbytes

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._traffic.waited_s += time.perf_counter() - start
