"""Keeps a trainer beside an embedded hub: started when there is work, again when it dies."""

import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from typing import IO

import structlog

from app.errors import Unavailable
from app.hub import Hub
from app.signing import seal
from app.tuning.leasing import has_unfinished

TRAINER = "trainer"
"""Purpose of the seal that a kept trainer shows."""

SEAL_S = 400 * 24 * 3600.0
LOOK_S = 1.0
"""How often it is looked whether there is work."""
SHORT_LIFE_S = 20.0
"""A trainer that lived for less is not started again at once."""
LONGEST_WAIT_S = 60.0
GRACE_S = 25.0
"""In which a trainer that is told to stop saves its jobs."""
COMMAND = "from app.cli import main; main()"

log = structlog.get_logger(__name__)


class Keeper:
    """One thread, and at most one child.

    The child's standard input tells it its token, and by its end that the hub is gone, however that
    died.
    """

    def __init__(self, hub: Hub, url: str) -> None:
        self._hub = hub
        self._url = url
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="trainer-keeper", daemon=True)

    def start(self) -> None:
        """Begin to look for work."""
        self._thread.start()

    def stop(self) -> None:
        """Have the child save its jobs and end; wait for it. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait_s, is_told = 1.0, False
        while not self._stopping.wait(LOOK_S):
            if not self._has_work():
                continue
            if not is_installed():
                if not is_told:
                    log.warning("trainer.not_installed", hint="pip install 'clade[train]'")
                is_told = True
                continue
            began = time.monotonic()
            self._live_through(self._spawn())
            if time.monotonic() - began >= SHORT_LIFE_S:
                wait_s = 1.0
                continue
            self._stopping.wait(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _has_work(self) -> bool:
        try:
            return has_unfinished(self._hub)
        except Unavailable as error:
            log.warning("trainer.database_away", error=str(error))
            return False

    def _live_through(self, child: subprocess.Popen[bytes]) -> None:
        """Until the child ends, or is to."""
        while child.poll() is None and not self._stopping.wait(LOOK_S / 4):
            pass
        assert child.stdin is not None
        child.stdin.close()
        try:
            status = child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        if status:
            log.warning("trainer.died", status=status)

    def _spawn(self) -> subprocess.Popen[bytes]:
        now = self._hub.clock.now()
        token = seal(self._hub.secret, TRAINER, {}, now=now, expires_s=SEAL_S)
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                COMMAND,
                "trainer",
                "--kept",
                "--hub",
                self._url,
                *self._options(),
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the hub, which tells the child
        )
        assert child.stdin is not None
        _say(child.stdin, token)
        log.info("trainer.started", pid=child.pid)
        return child

    def _options(self) -> list[str]:
        how = self._hub.settings.tuning
        cache = self._hub.settings.data.absolute() / "trainer"
        options = {"cache": cache} | how.model_dump(exclude={"trainer"}, exclude_none=True)
        return [
            f"--{name.replace('_', '-').removesuffix('-s')}={value}"
            for name, value in options.items()
        ]


def is_installed() -> bool:
    """Whether training can be run here."""
    return all(find_spec(name) is not None for name in ("torch", "transformers", "training"))


def _say(pipe: IO[bytes], token: str) -> None:
    try:
        pipe.write(token.encode() + b"\n")
        pipe.flush()
    except BrokenPipeError:
        pass  # it died at once, which is seen by its status
