"""The Celery application: a transport that wakes workers, nothing more.

Jobs live in the database. A message only says that something is owed, so messages may be lost,
doubled or late on any broker without harm. Only JSON is read: whoever can write to the broker can
make workers look for owed work, and nothing else.
"""

from celery import Celery
from celery.schedules import schedule
from kombu.entity import Queue

from app.settings import Settings

RUN_JOB = "clade.run_job"
SWEEP = "clade.sweep"
JOB_QUEUE = "clade.jobs"
SWEEP_QUEUE = "clade.sweep"
"""Apart from the jobs' queue, whose length tells the sweep how many messages are under way."""

ANSWER_S = 2.0
"""Longest wait for the broker while sending; a request may be waiting for it."""


def make_celery(settings: Settings) -> Celery:
    """The application for ``settings``. ValueError if there is no broker URL."""
    if settings.jobs.broker_url is None:
        raise ValueError("set CLADE_JOBS__BROKER_URL to run jobs on Celery workers")
    celery = Celery("clade", broker=settings.jobs.broker_url.get_secret_value())
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        result_accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_queues=[Queue(JOB_QUEUE), Queue(SWEEP_QUEUE)],
        task_default_queue=JOB_QUEUE,
        task_routes={RUN_JOB: {"queue": JOB_QUEUE}, SWEEP: {"queue": SWEEP_QUEUE}},
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=ANSWER_S,
        broker_transport_options={
            "socket_connect_timeout": ANSWER_S,
            "socket_keepalive": True,
        },
        beat_scheduler="celery.beat:Scheduler",  # keeps nothing on disk: there is nothing to keep
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": schedule(settings.jobs.sweep_s),
                "options": {"expires": settings.jobs.sweep_s},
            }
        },
        enable_utc=True,
        timezone="UTC",
    )
    return celery
