"""What ``celery -A workers.main`` runs: settings from the environment, our job kinds."""

from celery.signals import setup_logging

from app.log import configure_logging
from app.settings import Settings
from app.tasks import HANDLERS, PERIODS
from workers.bootstrap import ProcessHub
from workers.celery_app import make_celery
from workers.tasks import register_tasks

settings = Settings()  # pyright: ignore[reportCallIssue]
celery = make_celery(settings)
register_tasks(celery, ProcessHub(settings), HANDLERS, PERIODS)


@setup_logging.connect(weak=False)
def _log(**_signal: object) -> None:
    configure_logging(settings)
