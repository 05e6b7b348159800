"""What a job's handler is given, and the heartbeat that keeps its lease alive meanwhile."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import structlog

from app.errors import HubError
from app.hub import Hub
from app.jobs import lease
from app.jobs.lease import Claim, JobLost

PROGRESS_S = 1.0
"""Progress is written at most this often."""

log = structlog.get_logger(__name__)


class JobStopped(HubError):
    """The runner is shutting down: leave the job in a state from which it can be resumed."""

    transient = True


@dataclass(slots=True)
class JobContext:
    """One attempt at a job. Used by the handler's thread and by those it starts."""

    hub: Hub
    job_id: int
    payload: dict[str, Any]
    attempt: int = 1
    """Counted from 1."""
    stopping: threading.Event = field(default_factory=threading.Event)
    _heartbeat: "Heartbeat | None" = None

    def progress(self, done: int, total: int) -> None:
        """Tell how far the work is, in bytes. Cheap, and safe inside a transaction."""
        if self._heartbeat is not None:
            self._heartbeat.report(done, total)

    def check(self) -> None:
        """Raise if the work should stop: :class:`JobLost` or :class:`JobStopped`.

        To be called between steps, and before anything is published.
        """
        if self.stopping.is_set():
            raise JobStopped("the runner is shutting down")
        if self._heartbeat is not None:
            self._heartbeat.check()


class Heartbeat:
    """Renews a lease from a thread of its own until left; one update carries the progress too."""

    def __init__(self, hub: Hub, claim: Claim) -> None:
        self._hub = hub
        self._claim = claim
        self._until = claim.lease_until
        self._lost = False
        self._wake = threading.Condition()
        self._ended = False
        self._reported = False
        self.latest = (0, 0)
        """Last progress told: done, total."""
        self._thread = threading.Thread(
            target=self._beat, name=f"job-{claim.job_id}-heartbeat", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        self._thread.join()

    def report(self, done: int, total: int) -> None:
        """Note progress, for the next renewal."""
        with self._wake:
            self.latest = (done, total)
            self._reported = True
            self._wake.notify_all()

    def check(self) -> None:
        """Raise :class:`JobLost` if the lease is lost, asking the database if it may be."""
        if not self._lost and self._hub.clock.now() >= self._until:
            self._renew()
        if self._lost:
            raise JobLost(f"job {self._claim.job_id} is no longer ours")

    def _beat(self) -> None:
        renew_every_s = self._hub.settings.timers.job_lease_s / 3
        while True:
            with self._wake:
                self._wait(renew_every_s)
                if self._ended or self._lost:
                    return
                self._reported = False
            self._renew()

    def _wait(self, renew_every_s: float) -> None:
        """Until the next renewal is due, or progress was told and may be written again."""
        due = time.monotonic() + renew_every_s
        pause_until = time.monotonic() + min(PROGRESS_S, renew_every_s)
        self._wait_until(pause_until, lambda: self._ended)
        self._wait_until(due, lambda: self._ended or self._reported)

    def _wait_until(self, when: float, ready: Callable[[], bool]) -> None:
        self._wake.wait_for(ready, max(0.0, when - time.monotonic()))

    def _renew(self) -> None:
        try:
            self._until = lease.renew(self._hub, self._claim, self.latest)
        except JobLost:
            self._lost = True
        except Exception as error:  # noqa: BLE001 - the database may be back before the lease ends
            log.warning("job.heartbeat_failed", job_id=self._claim.job_id, error=str(error))
