"""Looks at the files of new jobs, and starts a trainer process for every base that has jobs.

It holds no tensors and loads no model: torch is for its children alone.
"""

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.errors import ClientError, LeaseLost, Unreachable
from client.trainer import Claim, TrainerClient, Work
from training.data.errors import BadData
from training.data.records import read_examples
from training.sched.rank import Aging
from training.service.desk import Desk
from training.service.holders import Holders
from training.service.options import TrainerOptions

LOOK_S = 1.0
"""Between two looks for work."""
LAST_WORD_S = 10.0
"""What a process asked for before it died has come to the hub by then."""
GRACE_S = 20.0
"""In which a child that is told to stop saves its jobs."""
SHORT_LIFE_S = 10.0
LONGEST_WAIT_S = 60.0
COMMAND = "from training.cli.trainer import main; main()"

Base = tuple[str, str, bool]

log = logging.getLogger(__name__)


@dataclass
class _Child:
    """A process that trains one base."""

    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, options: TrainerOptions, token: str, base: Base) -> "_Child":
        name, commit, full = base
        command = [sys.executable, "-c", COMMAND, *options.arguments(), f"--base={name}"]
        process = subprocess.Popen(
            [*command, f"--commit={commit}", *(["--full"] if full else []), "--kept"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(token.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            log.warning("the trainer of %s died at once", name)
        return cls(process)

    def stop(self) -> None:
        """Have it save its jobs and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self, deadline: float) -> None:
        """Kill it if it has not ended by then."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Runs until told to stop, or, if ``leaves``, until there was nothing to do for ``idle_s``."""

    def __init__(
        self,
        client: TrainerClient,
        options: TrainerOptions,
        token: str,
        holder: str,
        *,
        leaves: bool,
    ) -> None:
        self._client = client
        self._options = options
        self._token = token
        self._holder = holder
        self._leaves = leaves
        self._holders = Holders(options.cache, options.hub)
        self._died: dict[str, float] = {}
        """Processes of this machine that the hub is told of, since when."""
        self._aging = Aging()
        self._children: dict[Base, _Child] = {}
        self._waits: dict[Base, tuple[float, float]] = {}
        """Bases whose child died at once: how long they wait, and until when."""

    def run(self, wait: Callable[[float], bool]) -> None:
        """``wait``: sleeps for so many seconds, true once it is time to stop."""
        busy_at = time.monotonic()
        try:
            pause_s = 0.0
            while not wait(pause_s):
                self._bury()
                has_looked, is_busy = False, True
                try:
                    self._tell_of_the_dead()
                    has_looked = self._look_at_files()
                    is_busy = self._start_children() or has_looked
                except Unreachable as error:
                    log.warning("the hub cannot be asked for work: %s", error)
                pause_s = 0.0 if has_looked else LOOK_S
                if is_busy or self._children:
                    busy_at = time.monotonic()
                elif self._leaves and time.monotonic() - busy_at >= self._options.idle_s:
                    return
        finally:
            self._stop_children()

    def _tell_of_the_dead(self) -> None:
        """What they held is free at once, rather than when its leases have run out."""
        now = time.monotonic()
        for holder in self._holders.dead():
            if jobs := self._client.gone(holder):
                log.warning("%s died with %s jobs", holder, jobs)
            if now - self._died.setdefault(holder, now) >= LAST_WORD_S:
                self._holders.forget(holder)
                del self._died[holder]

    def _look_at_files(self) -> bool:
        """Validate the files of one job, if one waits for it."""
        claim = self._client.claim_unread(self._holder)
        if claim is None:
            return False
        try:
            with Desk(self._client) as desk:
                desk.hold(claim)
                fault = self._fault(claim)
            if fault is None:
                self._client.valid(claim)
            else:
                self._client.end(claim, "failed", error=fault)
        except LeaseLost:
            log.info("%s was taken away", claim.job)
        return True

    def _fault(self, claim: Claim) -> dict[str, str] | None:
        """What is wrong with a job's files."""
        files: dict[Literal["training", "validation"], str | None] = {
            "training": claim.training_file,
            "validation": claim.validation_file,
        }
        forms: dict[str, str] = {}
        for which, filename in files.items():
            if filename is None:
                continue
            param = f"{which}_file"
            with tempfile.TemporaryDirectory() as home:
                path = Path(home) / filename
                try:
                    self._client.fetch_data(claim, which, path)
                    forms[which], _ = read_examples(path)
                except BadData as error:
                    return {"code": "invalid_file_format", "message": str(error), "param": param}
                except (ClientError, OSError) as error:
                    if isinstance(error, LeaseLost | Unreachable):
                        raise
                    return {"code": "file_unreadable", "message": str(error), "param": param}
        if len(set(forms.values())) > 1:
            told = f"the training file is of the form {forms['training']}, this one is not"
            return {"code": "invalid_file_format", "message": told, "param": "validation_file"}
        return None

    def _start_children(self) -> bool:
        """A process for each base without one, as long as there is room; most urgent first."""
        work = self._client.work()
        for each in sorted(work, key=self._rank):
            base = (each.base, each.commit, each.full)
            if len(self._children) >= self._options.bases:
                break
            if base not in self._children and time.monotonic() >= self._waits.get(base, (0, 0))[1]:
                self._children[base] = _Child.start(self._options, self._token, base)
                log.info("training on %s", each.base)
        return bool(work)

    def _rank(self, work: Work) -> float:
        age_s = time.time() - work.waiting_since
        return -(work.priority + age_s // self._aging.period_s)

    def _bury(self) -> None:
        """Let children go that ended; one that died at once is not started again at once."""
        for base, child in list(self._children.items()):
            status = child.process.poll()
            if status is None:
                continue
            del self._children[base]
            child.stop()
            if status == 0:
                self._waits.pop(base, None)
                continue
            log.warning("the trainer of %s ended with status %s", base[0], status)
            if time.monotonic() - child.began < SHORT_LIFE_S:
                wait_s = min(2 * self._waits.get(base, (0.5, 0))[0], LONGEST_WAIT_S)
                self._waits[base] = (wait_s, time.monotonic() + wait_s)

    def _stop_children(self) -> None:
        for child in self._children.values():
            child.stop()
        deadline = time.monotonic() + GRACE_S
        for child in self._children.values():
            child.wait(deadline)
