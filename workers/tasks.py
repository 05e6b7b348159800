"""The two tasks: run a job, and look for jobs that nobody was told of."""

from collections.abc import Mapping

import structlog
from amqp.exceptions import ChannelError
from celery import Celery
from celery.signals import worker_process_shutdown

from app.jobs import lease
from app.jobs.runner import Handler, process_name, run_job, run_one
from app.jobs.schedule import queue_due
from workers.bootstrap import ProcessHub
from workers.celery_app import JOB_QUEUE, RUN_JOB, SWEEP
from workers.notify import send

SWEEP_JOBS = 1000
"""Most messages that one sweep sends."""

LATE_S = 0.1
"""Past the time a job waits for, so that its message is not early by a rounding."""

log = structlog.get_logger(__name__)


def register_tasks(
    celery: Celery,
    hubs: ProcessHub,
    handlers: Mapping[str, Handler],
    periods: Mapping[str, float],
) -> None:
    """Give the application its tasks. They take ids and leave everything else to the database."""

    @celery.task(name=RUN_JOB, shared=False)
    def run(job_id: int) -> None:
        """Run this job if it may run now, otherwise the most urgent one that may.

        So a message stands for "one job is owed" whatever became of the job it names, and sweeps
        need to send as many messages as jobs are owed, not the right ones. For a job whose time has
        not come, another comes then.
        """
        hub = hubs.get()
        owner = process_name()
        if run_job(hub, handlers, int(job_id), owner):
            return
        if wait_s := lease.wait_s(hub, int(job_id)):
            ask_again(job_id, wait_s)
        run_one(hub, handlers, owner)

    def ask_again(job_id: int, wait_s: float) -> None:
        """Once this wait is over; if the broker does not answer, the sweep finds the job."""
        try:
            send(celery, [job_id], wait_s=wait_s + LATE_S)
        except Exception as error:  # noqa: BLE001 - each broker's client has errors of its own
            log.warning("job.notify_failed", error=str(error), jobs=1)

    @celery.task(name=SWEEP, shared=False)
    def sweep() -> None:
        """Queue periodic work; send messages until there is one for every job that may run now."""
        hub = hubs.get()
        queue_due(hub, periods)
        claimable = lease.claimable_ids(hub, SWEEP_JOBS)
        missing = len(claimable) - waiting_messages(celery)
        if missing > 0:
            send(celery, claimable[:missing])
            log.info("job.swept", jobs=missing)

    def close(**_signal: object) -> None:
        hubs.close()

    worker_process_shutdown.connect(close, weak=False)


def waiting_messages(celery: Celery) -> int:
    """Messages in the jobs' queue that no worker has taken."""
    with celery.connection_for_read() as connection:
        try:
            return connection.default_channel.queue_declare(JOB_QUEUE, passive=True).message_count
        except ChannelError:  # nobody has sent anything yet
            return 0
