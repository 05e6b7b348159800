"""Waiting for what a hub's trainers do in processes of their own."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from tests.fixtures.server import Server

T = TypeVar("T")

PATIENCE_S = 200.0
SETTINGS = {
    "CLADE_TIMERS__TUNING_LEASE_S": "3",
    "CLADE_TUNING__IDLE_S": "3",
    "CLADE_TUNING__THREADS": "1",
    "CLADE_JOBS__THREADS": "0",
}


def wait_for(look: Callable[[], T | None]) -> T:
    """What ``look`` finds, as soon as it finds anything."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def trainers(server: Server) -> list[psutil.Process]:
    """Processes that train a base below this server."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [each for each in found if any(word.startswith("--base=") for word in each.cmdline())]
