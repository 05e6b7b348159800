"""A bell for those in this process who wait for an awaited file; those in others look at times."""

import threading
from collections.abc import Callable

_SLOTS = 256
_rings = [0] * _SLOTS
_changed = threading.Condition()


def rings(key: str) -> int:
    """How often the bell of a file rang so far: to be read before looking, then waited from."""
    return _rings[hash(key) % _SLOTS]


def ring(key: str) -> None:
    """Something became of a file: bytes came, it failed, it is here. After the commit."""
    with _changed:
        _rings[hash(key) % _SLOTS] += 1
        _changed.notify_all()


def wake_all() -> None:
    """Let all who wait look whether they still should."""
    with _changed:
        _changed.notify_all()


def wait(key: str, seen: int, most_s: float, *, unless: Callable[[], bool]) -> None:
    """Until the bell of a file rang more often than ``seen``, a time has passed, or ``unless``."""
    with _changed:
        _changed.wait_for(lambda: rings(key) != seen or unless(), most_s)
