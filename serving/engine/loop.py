"""The engine's thread: takes requests from any thread, steps while there is work, tells in batches.

What changes the engine itself (weights, pool, adapters) runs between two steps, or when the engine
has been drained: requests that came before are finished, later ones wait until it is done.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from serving.engine.engine import Engine
from serving.engine.output import Event, Failed
from serving.engine.sequence import Request

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_Job = tuple[Callable[[Engine], Any], Future[Any]]

MOST_FAILURES = 3
"""Steps that fail one after the other before the engine is given up."""


class EngineDead(Exception):
    """The engine has stopped and takes no more requests."""


class EngineLoop:
    """Owns an engine. ``deliver`` is called in the engine's thread, once a step, and must be quick.

    Every request that was taken ends with a last event, unless it is aborted.
    """

    def __init__(self, engine: Engine, deliver: Callable[[Sequence[Event]], None]) -> None:
        self.engine = engine
        self._deliver = deliver
        self._changed = threading.Condition()
        self._arrived: deque[Request] = deque()
        self._aborted: deque[str] = deque()
        self._jobs: deque[_Job] = deque()
        self._drained_jobs: deque[_Job] = deque()
        self._failures = 0
        self._closed = False
        self.fault: str | None = None
        """Why the engine has stopped; None while it runs."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def is_draining(self) -> bool:
        """Whether new requests wait for a change of the engine."""
        return bool(self._drained_jobs)

    def submit(self, request: Request) -> None:
        """Take a request that ``engine.check`` found good. Raises EngineDead."""
        with self._changed:
            if self._closed or self.fault is not None:
                raise EngineDead(self.fault or "the engine is shutting down")
            self._arrived.append(request)
            self._changed.notify()

    def abort(self, request_id: str) -> None:
        """Forget a request; its events end soon."""
        with self._changed:
            self._aborted.append(request_id)
            self._changed.notify()

    def call(self, job: Callable[[Engine], Result], *, drained: bool = False) -> Future[Result]:
        """Run a job in the engine's thread between two steps, or with no request in the engine."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed or self.fault is not None:
                future.set_exception(EngineDead(self.fault or "the engine is shutting down"))
            else:
                (self._drained_jobs if drained else self._jobs).append((job, future))
                self._changed.notify()
        return future

    def fail(self, message: str) -> None:
        """Give the engine up: it must not answer any more."""
        with self._changed:
            self.fault = self.fault or message
            self._closed = True
            self._changed.notify()

    def close(self) -> None:
        """Stop; requests that are not finished end with Failed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._take():
                self._run_jobs(self._jobs)
                if self._drained_jobs and self.engine.is_idle:
                    self._run_jobs(self._drained_jobs)
                if not self.engine.is_idle:
                    self._step()
        except Exception as error:  # the thread's last word
            log.exception("the engine has stopped")
            self.fault = f"the engine has stopped: {type(error).__name__}"
        self._end(self.fault or "the engine is shutting down")

    def _take(self) -> bool:
        """Wait for something to do and let it in; False when closed."""
        with self._changed:
            while not (self._closed or self._has_work()):
                self._changed.wait(self._pause_s())
                if self.engine.again_s is not None and self._pause_s() == 0:
                    break
            arrived: list[Request] = []
            if not self._drained_jobs:
                arrived, self._arrived = list(self._arrived), deque()
            aborted, self._aborted = list(self._aborted), deque()
            self._arrived = deque(each for each in self._arrived if each.request_id not in aborted)
            closed = self._closed
        for request in arrived:
            try:
                self.engine.add(request)
            except ValueError as error:  # checked before, but the engine has changed since
                self._deliver([Failed(request.request_id, str(error))])
        for request_id in aborted:
            self.engine.abort(request_id)
        return not closed

    def _has_work(self) -> bool:
        if self._jobs or self._aborted or (self._arrived and not self._drained_jobs):
            return True
        if self._drained_jobs and self.engine.is_idle:
            return True
        return not self.engine.is_idle and not self.engine.is_waiting

    def _pause_s(self) -> float | None:
        again = self.engine.again_s
        return None if again is None else max(0.0, again - self.engine.clock())

    def _run_jobs(self, jobs: deque[_Job]) -> None:
        while jobs:
            job, future = jobs[0]
            try:
                result = job(self.engine)
            except Exception as error:  # noqa: BLE001  whoever asked is told
                future.set_exception(error)
            else:
                future.set_result(result)
            jobs.popleft()

    def _step(self) -> None:
        events = self.engine.step()
        if events:
            self._deliver(events)
        failed = any(isinstance(event, Failed) for event in events)
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= MOST_FAILURES:
            raise EngineDead(f"{MOST_FAILURES} steps failed one after the other")

    def _end(self, message: str) -> None:
        """Tell everybody who is left, and let nobody wait."""
        with self._changed:
            self._closed = True
            left = [request.request_id for request in self._arrived]
            jobs = [*self._jobs, *self._drained_jobs]
        left += [sequence.request_id for sequence in self.engine.sequences]
        for request_id in left:
            self.engine.abort(request_id)
        for _, future in jobs:
            future.set_exception(EngineDead(message))
        self._deliver([Failed(request_id, message) for request_id in left])
