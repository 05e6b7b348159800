"""A broker that is away must not be felt by the request that queued a job."""

import os
from datetime import timedelta

import pytest
from celery import Celery
from kombu.entity import Queue
from pydantic import SecretStr

from app.hub import Hub
from app.jobs.lease import claim_next
from app.jobs.outbox import enqueue
from app.settings import Jobs
from tests.fixtures.services import free_port
from workers.bootstrap import ProcessHub
from workers.celery_app import JOB_QUEUE, RUN_JOB, make_celery
from workers.notify import celery_notifier
from workers.tasks import register_tasks, waiting_messages


def with_broker(hub: Hub, url: str) -> None:
    jobs = Jobs(broker_url=SecretStr(url))
    hub.settings = hub.settings.model_copy(update={"jobs": jobs})
    hub.notify_jobs = celery_notifier(hub.settings)


def queue(hub: Hub, *names: str) -> None:
    with hub.db.write() as session:
        for name in names:
            enqueue(session, hub, "encode", key=name, payload={})


def test_a_message_per_job(hub: Hub, broker_url: str):
    with_broker(hub, broker_url)
    celery = make_celery(hub.settings)
    assert waiting_messages(celery) == 0
    queue(hub, "a", "b")
    queue(hub, "c", "a")
    assert waiting_messages(celery) == 3
    celery.close()


def test_broker_away_loses_nothing(hub: Hub):
    with_broker(hub, f"redis://127.0.0.1:{free_port()}/0")
    queue(hub, "a")
    queue(hub, "b")
    for _ in range(2):
        assert claim_next(hub, "runner") is not None


def test_no_broker_is_a_wrong_setting(hub: Hub):
    with pytest.raises(ValueError, match="CLADE_JOBS__BROKER_URL"):
        celery_notifier(hub.settings)


def test_message_for_a_job_that_has_to_wait_comes_back(hub: Hub, broker_url: str):
    with_broker(hub, broker_url)
    celery = make_celery(hub.settings)
    ran: list[str] = []
    hubs = ProcessHub(hub.settings)
    hubs._opened = (os.getpid(), hub)
    register_tasks(celery, hubs, {"encode": lambda job: ran.append(str(job.payload["name"]))}, {})
    due = hub.clock.now() + timedelta(seconds=50)
    with hub.db.write() as session:
        enqueue(session, hub, "encode", key="a", payload={"name": "a"}, run_after=due)
    [(job_id, waits)] = taken(celery)
    assert not waits
    celery.tasks[RUN_JOB](job_id)
    assert (ran, taken(celery)) == ([], [(job_id, True)])
    hub.clock.sleep(50)
    celery.tasks[RUN_JOB](job_id)
    assert (ran, taken(celery)) == (["a"], [])
    celery.tasks[RUN_JOB](job_id)
    assert (ran, taken(celery)) == (["a"], [])
    celery.close()


def taken(celery: Celery) -> list[tuple[int, bool]]:
    """The jobs that messages in the queue name, and whether it is to be waited for their time."""
    found: list[tuple[int, bool]] = []
    with celery.connection_for_read() as connection:
        queue = Queue(JOB_QUEUE)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append((message.payload[0][0], message.headers["eta"] is not None))
    return found
