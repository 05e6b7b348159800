"""Jobs are owed exactly when the transaction that caused them commits."""

import json

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.db.tables import Job
from app.hub import Hub
from app.jobs.listing import list_jobs
from app.jobs.outbox import enqueue
from app.jobs.runner import run_one


def jobs_of(hub: Hub) -> list[Job]:
    with hub.db.read() as session:
        return list(session.scalars(select(Job).order_by(Job.id)))


def test_commit_queues_and_tells_once(any_hub: Hub):
    told: list[list[int]] = []
    any_hub.notify_jobs = told.append
    with any_hub.db.write() as session:
        enqueue(session, any_hub, "encode", key="file:1", payload={"file_id": 1})
        enqueue(session, any_hub, "family", key="repo:2", payload={"repo_id": 2}, priority=5)
        assert told == []
    jobs = jobs_of(any_hub)
    assert told == [[job.id for job in jobs]]
    assert [(j.kind, j.key, j.priority, j.state) for j in jobs] == [
        ("encode", "file:1", 0, "queued"),
        ("family", "repo:2", 5, "queued"),
    ]
    assert json.loads(jobs[0].payload) == {"file_id": 1}


def test_rollback_forgets_the_job(any_hub: Hub):
    told: list[list[int]] = []
    any_hub.notify_jobs = told.append

    def work(session: Session) -> None:
        enqueue(session, any_hub, "encode", key="file:1", payload={"file_id": 1})
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        any_hub.db.run(work)
    assert (jobs_of(any_hub), told) == ([], [])


def test_repeated_transaction_queues_once(any_hub: Hub):
    told: list[list[int]] = []
    any_hub.notify_jobs = told.append
    attempts: list[int] = []

    def work(session: Session) -> None:
        enqueue(session, any_hub, "encode", key="file:1", payload={"file_id": 1})
        attempts.append(1)
        if len(attempts) == 1:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))

    any_hub.db.run(work)
    assert told == [[job.id for job in jobs_of(any_hub)]]
    assert len(attempts) == 2


def test_queued_job_serves_for_its_twin(any_hub: Hub):
    for file_id, priority in ((1, 3), (1, 1), (1, 2), (2, 0)):
        with any_hub.db.write() as session:
            key = f"file:{file_id}"
            enqueue(session, any_hub, "encode", key=key, payload={}, priority=priority)
            enqueue(session, any_hub, "encode", key=key, payload={}, priority=priority)
    assert [(j.key, j.priority) for j in jobs_of(any_hub)] == [("file:1", 1), ("file:2", 0)]


def test_running_job_does_not_serve_for_a_new_one(any_hub: Hub):
    def queue() -> None:
        with any_hub.db.write() as session:
            enqueue(session, any_hub, "encode", key="file:1", payload={})

    queue()
    run_one(any_hub, {"encode": lambda _context: queue()}, "runner")
    assert [job.state for job in jobs_of(any_hub)] == ["done", "queued"]


def test_twin_is_not_started_before_the_change_shows(postgres: str, hub: Hub):
    """A runner must not take the queued job while a transaction counts on it to see its rows."""
    hub.db.dispose()
    hub.db = Database(postgres)
    with hub.db.write() as session:
        enqueue(session, hub, "encode", key="file:1", payload={})
    with hub.db.write() as session:
        enqueue(session, hub, "encode", key="file:1", payload={})
        session.flush()
        assert not run_one(hub, {"encode": lambda _context: None}, "runner")
    assert run_one(hub, {"encode": lambda _context: None}, "runner")
    with hub.db.read() as session:
        assert [job.state for job in list_jobs(session)] == ["done"]


def test_twin_locked_by_another_transaction_is_queued_again(postgres: str, hub: Hub):
    hub.db.dispose()
    hub.db = Database(postgres)
    with hub.db.write() as session:
        enqueue(session, hub, "encode", key="file:1", payload={})
    with hub.db.write() as one, hub.db.write() as other:
        enqueue(one, hub, "encode", key="file:1", payload={})
        enqueue(other, hub, "encode", key="file:1", payload={})
    assert len(jobs_of(hub)) == 2
