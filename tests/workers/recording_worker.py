"""A Celery application whose handlers write down what they do; tests run it as a worker."""

import os
import time
from pathlib import Path

from app.jobs.runner import JobContext
from app.settings import Settings
from workers.bootstrap import ProcessHub
from workers.celery_app import make_celery
from workers.tasks import register_tasks

RECORD = Path(os.environ["TEST_RECORD"])


def write_down(context: JobContext) -> None:
    record(f"{context.payload['name']} {context.attempt} {os.getpid()}")


def hang_at_first(context: JobContext) -> None:
    write_down(context)
    while context.attempt == 1:
        time.sleep(1)


def record(line: str) -> None:
    descriptor = os.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


settings = Settings(data=Path(os.environ["CLADE_DATA"]))
celery = make_celery(settings)
handlers = {"write-down": write_down, "hang-at-first": hang_at_first}
register_tasks(celery, ProcessHub(settings), handlers, periods={})
