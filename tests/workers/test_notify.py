"""A broker that is away must not be felt by the request that queued a job."""

import pytest
from pydantic import SecretStr

from app.hub import Hub
from app.jobs.lease import claim_next
from app.jobs.outbox import enqueue
from app.settings import Jobs
from tests.fixtures.services import free_port
from workers.celery_app import make_celery
from workers.notify import celery_notifier
from workers.tasks import waiting_messages


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
