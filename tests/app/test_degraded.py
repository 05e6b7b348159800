"""What an operator should look at, and when it is silent."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from app.db.tables import Job
from app.degraded import degradations
from app.hub import Hub
from app.jobs.outbox import enqueue


@pytest.fixture
def waiting(hub: Hub) -> Hub:
    """A hub with one job that may run."""
    with hub.db.write() as session:
        enqueue(session, hub, "encode", key="file:1", payload={"file_id": 1})
    return hub


def test_a_hub_at_rest_is_silent(hub: Hub):
    assert degradations(hub) == {}


def test_a_job_that_nobody_runs_is_told_of_in_time(waiting: Hub):
    assert degradations(waiting) == {}
    waiting.clock.sleep(700)
    assert "are workers up?" in degradations(waiting)["jobs"]


def test_a_queue_that_is_being_worked_off_is_no_fault(waiting: Hub):
    waiting.clock.sleep(700)
    with waiting.db.write() as session:
        enqueue(session, waiting, "encode", key="file:2", payload={"file_id": 2})
        session.flush()
        session.execute(update(Job).where(Job.key == "file:2").values(state="running"))
    assert degradations(waiting) == {}


def test_jobs_given_up_are_counted(waiting: Hub):
    with waiting.db.write() as session:
        session.execute(update(Job).values(state="failed"))
    assert degradations(waiting)["jobs"].startswith("1 jobs were given up")


def test_a_disk_that_is_nearly_full_is_told_of(hub: Hub, monkeypatch):
    usage = shutil.disk_usage("/")._replace(total=100 << 30, free=2 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert "2.0 GiB are free" in degradations(hub)["disk"]


def test_a_data_directory_that_is_gone_is_told_of(hub: Hub, monkeypatch):
    monkeypatch.setattr(hub, "settings", hub.settings.model_copy(update={"data": Path("/nowhere")}))
    assert degradations(hub)["disk"] == "the data directory nowhere is gone"
