"""A private PostgreSQL for one bench: started empty, durable as in production, removed after."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.hub import free_port, wait_until


@contextlib.contextmanager
def postgres_database(keep: Path | None = None) -> Iterator[str]:
    """URL of an empty database in a private PostgreSQL cluster, durable as in production.

    ``keep``: where the cluster stays, and is found again with what was written to it.
    """
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        raise SystemExit("this bench needs PostgreSQL: apt-get install postgresql")
    base = keep or Path(tempfile.mkdtemp(prefix="clade-pg-"))
    base.mkdir(parents=True, exist_ok=True)
    as_user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(base, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data, port = base / "data", free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": base}
    initdb = [programs / "initdb", "-A", "trust", "-U", "clade", "-E", "UTF8", "-D", data]
    is_new = not data.exists()
    if is_new:
        subprocess.run(initdb, check=True, **quiet, **as_user)
    options = ("-c", f"port={port}", "-c", "listen_addresses=127.0.0.1")
    sockets = ("-c", f"unix_socket_directories={base}")
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *options, *sockets], **quiet, **as_user
    )
    try:
        where = ("-h", "127.0.0.1", "-p", str(port))
        ask = [programs / "pg_isready", *where]
        if is_new:
            ask = [programs / "createdb", *where, "-U", "clade", "hub"]
        wait_until(lambda: subprocess.run(ask, check=False, **quiet).returncode == 0, 60, 0.2)
        yield f"postgresql://clade@127.0.0.1:{port}/hub"
    finally:
        server.send_signal(2)  # fast shutdown: does not wait for clients
        server.wait()
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
