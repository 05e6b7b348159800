"""A lock that is had in turn: by one caller after the other, each of its threads in their order."""

import threading
from dataclasses import dataclass, field

from app.callers import Lines


@dataclass(slots=True, eq=False)
class _Place:
    """A thread's in its line."""

    thread: int = field(default_factory=threading.get_ident)
    called: threading.Lock = field(default_factory=threading.Lock)
    """Held until its turn has come."""

    def __post_init__(self) -> None:
        self.called.acquire()


class Turn:
    """Exclusive, and re-entrant for the thread that has it.

    Whoever leaves it hands it over, so that nobody who comes back has it past those who wait, as
    Python's own locks allow. Sixteen threads that write for one caller keep the hub's jobs, or
    another caller, waiting no longer than one would.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: Lines[_Place] = Lines()
        self._holder: int | None = None
        self._depth = 0

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the turn; False if it does not come in time."""
        if self._holder == threading.get_ident():
            self._depth += 1
            return True
        place = _Place()
        with self._lock:
            if self._holder is None:
                self._give_to(place)
                return True
            self._lines.join(place)
        try:
            in_time = place.called.acquire(timeout=timeout_s)
        except BaseException:
            if not self._leave(place):
                self.release()
            raise
        return in_time or not self._leave(place)

    def release(self) -> None:
        """Hand over to who is next; to be called as often as the turn was acquired."""
        self._depth -= 1
        if self._depth:
            return
        with self._lock:
            if self._lines:
                self._give_to(self._lines.call())
            else:
                self._holder = None

    def _give_to(self, place: _Place) -> None:
        self._holder, self._depth = place.thread, 1
        place.called.release()

    def _leave(self, place: _Place) -> bool:
        """Stop waiting; False if the turn came meanwhile."""
        with self._lock:
            if self._holder == place.thread:
                return False
            self._lines.leave(place)
            return True
