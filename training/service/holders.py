"""Who of a machine's trainers lives: each has a name, and a lock that is free when it is dead."""

import fcntl
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

log = logging.getLogger(__name__)


class Holders:
    """Processes of this machine that train for one hub and share a cache.

    A name is a file that its process holds a lock on. The system frees that when the process ends,
    however it does, and at no other time: one that is suspended, or does not get to report, holds
    it. Processes of other machines are never judged, though the cache be on a file system of both.
    """

    def __init__(self, cache: Path, hub: str) -> None:
        self._host = socket.gethostname()
        whose = sha256(f"{hub}\n{self._host}".encode()).hexdigest()
        self._home = cache / "holders" / whose[:16]

    @contextmanager
    def named(self) -> Iterator[str]:
        """A name for this process, at most 64 characters, until it ends or leaves this.

        Where files cannot be locked, nobody is ever judged by it.
        """
        name = f"{self._host[:24]}:{os.getpid()}:{secrets.token_hex(8)}"
        self._home.mkdir(parents=True, exist_ok=True)
        unlocked = self._home / f".{name}"
        with unlocked.open("x") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                unlocked.unlink()
                log.warning(
                    "no locks in %s (%s): if this dies, its leases run out", self._home, error
                )
            else:
                unlocked.rename(self._home / name)
            yield name

    def dead(self) -> Iterator[str]:
        """Names whose processes are no more, until they are forgotten."""
        for path in sorted(self._home.glob("[!.]*")):
            try:
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:  # locked, most of the time; or another has forgotten it
                continue
            yield path.name

    def forget(self, name: str) -> None:
        """Its hub was told."""
        (self._home / name).unlink(missing_ok=True)
