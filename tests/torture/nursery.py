"""A process that has imported the hub and forks servers and workers of it: a kill costs no start.

Its children are real processes, killed by SIGKILL; it speaks lines of JSON on stdin and stdout.
Run as ``python -m tests.torture.nursery``.
"""

import ctypes
import json
import os
import signal
import sys
from typing import NoReturn

import alembic.command  # noqa: F401 - imported here so that children need not
import boto3  # noqa: F401
import celery.bin.beat
import celery.bin.worker  # noqa: F401
import psycopg  # noqa: F401
from celery.signals import worker_process_init

import codec
from app import serve as hub_server
from app.settings import Settings

PR_SET_PDEATHSIG = 1


def serve(port: int) -> None:
    """The HTTP front, with job threads if there is no broker."""
    hub_server.serve(Settings(), host="127.0.0.1", port=port)  # pyright: ignore[reportCallIssue]


def work() -> None:
    """A Celery worker with one process below it."""
    worker_process_init.connect(lambda **_: die_with_parent(), weak=False)
    _celery("worker", "-c", "1", "--without-mingle", "--without-gossip")


def beat() -> None:
    """The clock that wakes workers."""
    _celery("beat")


def die_with_parent() -> None:
    """Nobody is left behind when the tests are killed (on Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _celery(*arguments: str) -> None:
    sys.argv = ["celery"]
    from workers.main import celery

    celery.start([*arguments])


def main() -> None:
    """Fork what is asked for, until stdin ends; then kill what is left."""
    codec.load()
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if order["role"] == "bury":
            pid = int(order["pid"])
            os.waitpid(pid, 0)
            children.discard(pid)
        else:
            pid = os.fork()
            if pid == 0:
                _become(order)
            children.add(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in children:
        os.killpg(pid, signal.SIGKILL)


def _become(order: dict[str, object]) -> NoReturn:
    os.setpgid(0, 0)
    die_with_parent()
    os.environ.update(order["env"])  # type: ignore[arg-type]
    log = os.open(str(order["log"]), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 1
    try:
        match order["role"]:
            case "serve":
                serve(int(str(order["port"])))
            case "work":
                work()
            case _:
                beat()
        status = 0
    except BaseException:  # noqa: BLE001 - told in the log
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
