"""Tell Celery workers that jobs were queued."""

import time
from collections.abc import Callable, Iterable

import structlog
from celery import Celery

from app.settings import Settings
from workers.celery_app import RUN_JOB, make_celery

SILENCE_S = 5.0
"""After a failure nothing is sent for this long: requests must not each wait for the broker."""

log = structlog.get_logger(__name__)


def celery_notifier(settings: Settings) -> Callable[[list[int]], None]:
    """A ``Hub.notify_jobs`` that sends a message per job; never raises.

    If the broker does not answer that is logged, and the workers' sweep finds the jobs later.
    """
    celery = make_celery(settings)
    celery.conf.broker_transport_options |= {"max_retries": 0, "interval_start": 0}
    silent_until = 0.0

    def notify(job_ids: list[int]) -> None:
        nonlocal silent_until
        if time.monotonic() < silent_until:
            return
        try:
            send(celery, job_ids)
        except Exception as error:  # noqa: BLE001 - each broker's client has errors of its own
            silent_until = time.monotonic() + SILENCE_S
            log.warning("job.notify_failed", error=str(error), jobs=len(job_ids))

    return notify


def send(celery: Celery, job_ids: Iterable[int], *, wait_s: float = 0.0) -> None:
    """A message for each job, to be acted on after a wait. Raises what the broker's client raises.

    A worker holds what has to wait, and a broker that does not hear of it for long gives it to
    another: after an hour on Redis, half of one on RabbitMQ; no job waits for so long.
    """
    with celery.producer_or_acquire() as producer:
        for job_id in job_ids:
            celery.send_task(
                RUN_JOB, args=[job_id], countdown=wait_s or None, producer=producer, retry=False
            )
