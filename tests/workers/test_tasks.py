"""Jobs on real Celery workers over a real Redis: run once, survive SIGKILL, refuse pickles."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from kombu import Connection, Queue
from pydantic import SecretStr
from sqlalchemy import select

from app.clock import SystemClock
from app.db.tables import Job
from app.hub import Hub
from app.jobs.outbox import enqueue
from app.settings import Jobs, Settings, Timers
from tests.fixtures.hub import open_test_hub
from tests.fixtures.services import with_our_life
from workers.celery_app import JOB_QUEUE, make_celery
from workers.notify import celery_notifier
from workers.tasks import waiting_messages

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Workplace:
    """A hub, a broker, and what the workers wrote down."""

    hub: Hub
    record: Path
    environment: dict[str, str] = field(default_factory=dict)

    def queue(self, kind: str, *names: str, run_after: datetime | None = None) -> None:
        with self.hub.db.write() as session:
            for name in names:
                payload: dict[str, int | str] = {"name": name}
                enqueue(session, self.hub, kind, key=name, payload=payload, run_after=run_after)

    def records(self) -> list[list[str]]:
        """Lines of name, attempt, process id."""
        text = self.record.read_text() if self.record.exists() else ""
        return [line.split() for line in text.splitlines()]

    def states(self) -> dict[str, str]:
        with self.hub.db.read() as session:
            return {job.key: job.state for job in session.scalars(select(Job))}

    def finished(self, key: str) -> datetime:
        with self.hub.db.read() as session:
            at = session.scalars(select(Job.finished_at).where(Job.key == key)).one()
        assert at is not None
        return at

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker of two processes with the sweep, in a process group of its own."""
        command = [
            *(sys.executable, "-m", "celery", "-A", "tests.workers.recording_worker"),
            *("worker", "-B", "-c", "2", "--without-gossip", "--without-mingle", "-l", "INFO"),
        ]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                with_our_life(command),
                cwd=ROOT,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @property
    def log(self) -> Path:
        return self.record.with_suffix(".log")

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 90
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{self.states()} {self.records()}\n{self.log.read_text()[-6000:]}")
            time.sleep(0.05)


@pytest.fixture
def workplace(postgres: str, broker_url: str, tmp_path: Path) -> Iterator[Workplace]:
    settings = Settings(
        data=tmp_path / "data",
        database_url=SecretStr(postgres),
        jobs=Jobs(broker_url=SecretStr(broker_url), sweep_s=0.5),
        timers=Timers(job_lease_s=3),
    )
    hub = open_test_hub(settings)
    hub.clock = SystemClock()
    hub.notify_jobs = celery_notifier(settings)
    record = tmp_path / "record"
    environment = {
        "CLADE_DATA": str(settings.data),
        "CLADE_DATABASE_URL": postgres,
        "CLADE_JOBS__BROKER_URL": broker_url,
        "CLADE_JOBS__SWEEP_S": "0.5",
        "CLADE_TIMERS__JOB_LEASE_S": "3",
        "TEST_RECORD": str(record),
    }
    yield Workplace(hub, record, environment)
    hub.close()


def test_jobs_run_once_each(workplace: Workplace):
    names = [f"job-{n}" for n in range(20)]
    workplace.queue("write-down", *names)
    with workplace.worker():
        workplace.until(lambda: set(workplace.states().values()) == {"done"})
    assert sorted(name for name, _, _ in workplace.records()) == sorted(names)


def test_job_of_a_killed_worker_is_finished_after_its_lease(workplace: Workplace):
    workplace.queue("hang-at-first", "a")
    with workplace.worker() as worker:
        workplace.until(lambda: len(workplace.records()) == 1)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert workplace.states() == {"a": "running"}
    with workplace.worker():
        workplace.until(lambda: workplace.states() == {"a": "done"})
    assert [(name, attempt) for name, attempt, _ in workplace.records()] == [("a", "1"), ("a", "2")]


def test_job_of_a_killed_pool_process_is_finished_by_its_sibling(workplace: Workplace):
    workplace.queue("hang-at-first", "a")
    with workplace.worker():
        workplace.until(lambda: len(workplace.records()) == 1)
        os.kill(int(workplace.records()[0][2]), signal.SIGKILL)
        workplace.until(lambda: workplace.states() == {"a": "done"})
    assert [attempt for _, attempt, _ in workplace.records()] == ["1", "2"]


def test_job_whose_message_was_lost_is_swept_up(workplace: Workplace):
    workplace.hub.notify_jobs = lambda _ids: None
    workplace.queue("write-down", "a", "b")
    with workplace.worker():
        workplace.until(lambda: workplace.states() == {"a": "done", "b": "done"})


def test_job_that_has_to_wait_is_asked_again_when_its_time_has_come(workplace: Workplace):
    """By its message: the sweep does not look while this goes on."""
    workplace.environment["CLADE_JOBS__SWEEP_S"] = "3600"
    due = workplace.hub.clock.now() + timedelta(seconds=8)
    with workplace.worker():
        workplace.queue("write-down", "before")
        workplace.queue("write-down", *(f"rests-{n}" for n in range(10)), run_after=due)
        workplace.queue("write-down", "after")
        workplace.until(lambda: len(workplace.records()) == 2)
        workplace.until(lambda: set(workplace.states().values()) == {"done"})
    names = [name for name, _, _ in workplace.records()]
    assert set(names[:2]) == {"before", "after"}, "what may run is not held up"
    assert sorted(names[2:]) == sorted(f"rests-{n}" for n in range(10))
    assert workplace.finished("rests-0") >= due


def test_pickled_and_forged_messages_do_nothing(workplace: Workplace, tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "sprung",)

    broker = workplace.environment["CLADE_JOBS__BROKER_URL"]
    with Connection(broker) as connection, connection.Producer() as producer:
        Queue(JOB_QUEUE)(connection.default_channel).declare()
        producer.publish(
            [[Trap()], {}, {}],
            routing_key=JOB_QUEUE,
            serializer="pickle",
            headers={"task": "clade.run_job", "id": "1", "lang": "py"},
        )
    celery = make_celery(workplace.hub.settings)
    for arguments in ([10**9], ["1; DROP TABLE job"], [None], [{"id": 1}], []):
        celery.send_task("clade.run_job", args=arguments)
    celery.send_task("os.system", args=["true"], queue=JOB_QUEUE)
    workplace.queue("write-down", "honest")
    with workplace.worker():
        workplace.until(lambda: workplace.states() == {"honest": "done"})
        workplace.until(lambda: waiting_messages(celery) == 0)
    celery.close()
    assert not (tmp_path / "sprung").exists()
    assert "ContentDisallowed" in workplace.log.read_text()
