"""One hub per worker process, opened after the fork."""

import os
import threading

from app.hub import Hub, open_hub
from app.settings import Settings
from workers.notify import celery_notifier


class ProcessHub:
    """Opens the hub when a process first asks for it: connections must not cross a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: tuple[int, Hub] | None = None

    def get(self) -> Hub:
        """This process's hub. Jobs that its jobs queue are sent to the broker."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                hub = open_hub(self._settings)
                hub.notify_jobs = celery_notifier(self._settings)
                self._opened = (os.getpid(), hub)
            return self._opened[1]

    def close(self) -> None:
        """Close this process's hub, if it has one."""
        with self._lock:
            if self._opened is not None and self._opened[0] == os.getpid():
                self._opened[1].close()
                self._opened = None
