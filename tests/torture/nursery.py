"""A process that has imported the hub and forks servers and workers of it: a kill costs no start.

Its children are real processes, killed by SIGKILL; it speaks lines of JSON on stdin and stdout.
Run as ``python -m tests.torture.nursery``.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import alembic.command  # noqa: F401 - imported here so that children need not
import boto3  # noqa: F401
import celery.bin.worker  # noqa: F401
import psycopg  # noqa: F401

import codec
from app import serve as hub_server
from app.settings import Settings


def serve(port: int) -> None:
    """The HTTP front, with job threads if there is no broker."""
    hub_server.serve(Settings(), host="127.0.0.1", port=port)  # pyright: ignore[reportCallIssue]


def work(beat: str) -> None:
    """A Celery worker with one process below it."""
    sys.argv = ["celery"]
    from workers.main import celery

    celery.worker_main(
        ["worker", "-c", "1", "-B", "-s", beat, "--without-mingle", "--without-gossip"]
    )


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
    os.environ.update(order["env"])  # type: ignore[arg-type]
    log = os.open(str(order["log"]), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 1
    try:
        if order["role"] == "serve":
            serve(int(str(order["port"])))
        else:
            work(str(Path(str(order["log"])).with_suffix(".beat")))
        status = 0
    except BaseException:  # noqa: BLE001 - told in the log
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
