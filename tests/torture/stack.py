"""A hub as it runs in earnest, of processes that can be killed, stopped and started at will."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from pydantic import SecretStr
from sqlalchemy import ColumnElement, func, select

from app.accounts.users import create_user
from app.clock import SystemClock
from app.db.tables import Job, StoredObject
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.jobs.outbox import enqueue
from app.jobs.runner import drain
from app.settings import Settings
from app.tasks import HANDLERS
from tests.fixtures.hub import open_test_hub
from tests.fixtures.server import ROOT
from tests.fixtures.services import free_port, with_our_life

Nursery = subprocess.Popen[str]
"""See ``tests.torture.nursery``."""

READY_S = 120.0
"""For a server to be ready, and for a stack to finish its next job."""

UNDONE = ("queued", "running")
TOKEN = "hf_alice"

IMPATIENT = {
    "CLADE_TIMERS__CONDEMN_S": "1",
    "CLADE_TIMERS__KILL_S": "1",
    "CLADE_TIMERS__REPLACED_S": "2",
    "CLADE_TIMERS__INTENT_S": "60",
    "CLADE_TIMERS__LEASE_S": "60",
    "CLADE_TIMERS__JOB_LEASE_S": "2",
    "CLADE_JOBS__SWEEP_S": "1",
    # A runner that is killed with a job eight times in a row is not the job's fault here.
    "CLADE_JOBS__MAX_ATTEMPTS": "1000",
    "CLADE_LIMITS__LFS_MULTIPART_NBYTES": "100000",
    "CLADE_LIMITS__LFS_PART_NBYTES": "50000",
    "CLADE_LOG_LEVEL": "WARNING",
}
"""Grace periods so short that everything happens while one watches."""


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """Forks servers and workers, and ends those that are left in the end."""
    process = subprocess.Popen(
        with_our_life([sys.executable, "-m", "tests.torture.nursery"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:  # closes its stdin, upon which it ends
        yield process


@dataclass
class Stack:
    """The processes of one hub; its database and store outlive them."""

    settings: Settings
    env: dict[str, str]
    base: Path
    nursery: Nursery
    has_workers: bool
    port: int = field(default_factory=free_port)
    pids: dict[str, int] = field(default_factory=dict)
    """By role: serve; work and beat where there is a broker."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def roles(self) -> list[str]:
        return ["serve", "work", "beat"] if self.has_workers else ["serve"]

    def start(self, role: str) -> None:
        """Fork a process; for a server, wait until it is ready."""
        log = self.base / f"{role.replace(' ', '-')}.log"
        kind = role.partition(" ")[0]
        order = {"role": kind, "port": self.port, "env": self.env, "log": str(log)}
        self.pids[role] = self._ask(order)
        if role == "serve":
            self._wait_until_ready(log)

    def kill(self, role: str, *, whole: bool = True) -> None:
        """SIGKILL, to a worker's child process alone if not ``whole``."""
        pid = self.pids[role]
        children = psutil.Process(pid).children()
        if not whole and children:
            children[0].kill()
            return
        os.killpg(pid, signal.SIGKILL)
        self._ask({"role": "bury", "pid": pid})
        del self.pids[role]

    def stop(self) -> None:
        """SIGTERM to all, and wait."""
        for role, pid in list(self.pids.items()):
            os.kill(pid, signal.SIGTERM)
            self._ask({"role": "bury", "pid": pid})
            del self.pids[role]

    def open(self) -> Hub:
        """The same hub in this process, to look at it and to owe jobs."""
        hub = open_test_hub(self.settings)
        hub.clock = SystemClock()
        return hub

    def settle(self, hub: Hub) -> float:
        """What is owed is done by the stack itself, within the seconds returned; then nobody runs,
        time passes, all is clean."""
        done, deadline, begun = -1, 0.0, time.monotonic()
        while self._count(hub, Job.state.in_(UNDONE), Job.run_after <= hub.clock.now()):
            if (now_done := self._count(hub, Job.state == "done")) != done:
                done, deadline = now_done, time.monotonic() + READY_S
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.2)
        settled_s = time.monotonic() - begun
        self.stop()
        hub.clock = _Later()
        drain(hub, HANDLERS)
        collect(hub, now=True)
        report = fsck(hub, deep=True)
        assert report.clean, report.problems
        with hub.db.read() as session:
            odd = session.execute(
                select(StoredObject.state, StoredObject.purpose, StoredObject.not_before).where(
                    StoredObject.state != "live"
                )
            ).all()
            keys = set(session.scalars(select(StoredObject.key)))
            failed = session.execute(select(Job.kind, Job.error).where(Job.state == "failed")).all()
        assert not failed, failed
        assert not odd, odd
        assert keys == {stat.key for stat in hub.store.list()}
        return settled_s

    def _count(self, hub: Hub, *which: ColumnElement[bool]) -> int:
        with hub.db.read() as session:
            return session.scalar(select(func.count()).select_from(Job).where(*which)) or 0

    def _ask(self, order: dict[str, object]) -> int:
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(json.dumps(order) + "\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline())

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=10, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.02)

    def _logs(self) -> str:
        return "\n".join(log.read_text()[-3000:] for log in sorted(self.base.glob("*.log")))


class _Later(SystemClock):
    """A month later: everything that may expire has."""

    def now(self):
        from datetime import timedelta

        return super().now() + timedelta(days=30)


def owe_collection(hub: Hub) -> None:
    """Let a runner collect garbage as soon as it can."""
    hub.db.run(lambda session: enqueue(session, hub, "gc", key="torture", payload={}))


@contextmanager
def running_stack(
    nursery: Nursery, settings: Settings, base: Path, broker_url: str | None
) -> Iterator[Stack]:
    """All processes of a hub with these settings, impatient; killed in the end."""
    env = IMPATIENT | _environment(settings)
    if broker_url is not None:
        env["CLADE_JOBS__BROKER_URL"] = broker_url
    stack = Stack(_with_environment(env), env, base, nursery, broker_url is not None)
    try:
        hub = stack.open()
        create_user(hub, "alice", token=TOKEN)
        hub.close()
        for role in stack.roles:
            stack.start(role)
        yield stack
    finally:
        for role in list(stack.pids):
            stack.kill(role)


def _environment(settings: Settings) -> dict[str, str]:
    secrets: dict[str, SecretStr | None] = {
        "CLADE_DATABASE_URL": settings.database_url,
        "CLADE_S3_ACCESS_KEY": settings.s3_access_key,
        "CLADE_S3_SECRET_KEY": settings.s3_secret_key,
    }
    found = {name: secret.get_secret_value() for name, secret in secrets.items() if secret}
    return found | {
        "CLADE_DATA": str(settings.data),
        "CLADE_STORE_URL": settings.resolved_store_url,
    }


def _with_environment(env: dict[str, str]) -> Settings:
    """The settings that the processes will read."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        return Settings()  # pyright: ignore[reportCallIssue]
    finally:
        os.environ.clear()
        os.environ.update(before)
