"""Latency of the small requests every client makes, with a thousand repositories in the database.

On SQLite and on PostgreSQL, beside the same HTTP stack answering a constant: the floor.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import LiveHub, free_port, wait_until, workspace
from bench.report import median, percentile, print_table

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"---\nlicense: mit\n---\n# Model\n",
}


def fill(hub: LiveHub, repos: int) -> None:
    """Create repositories with two files each."""
    with hub.http() as client:
        for number in range(repos):
            name = f"model-{number:04d}"
            body = {"name": name, "organization": NAMESPACE, "type": "model"}
            client.post("/api/repos/create", json=body).raise_for_status()
            lines: list[dict] = [{"key": "header", "value": {"summary": "add", "description": ""}}]
            for path, content in FILES.items():
                encoded = base64.b64encode(content + name.encode()).decode()
                file = {"path": path, "content": encoded, "encoding": "base64"}
                lines.append({"key": "file", "value": file})
            client.post(
                f"/api/models/{NAMESPACE}/{name}/commit/main",
                content="\n".join(json.dumps(line) for line in lines),
                headers={"Content-Type": "application/x-ndjson"},
            ).raise_for_status()


def requests() -> dict[str, tuple[str, str]]:
    """Method and path template of each measured request."""
    return {
        "whoami": ("GET", "/api/whoami-v2"),
        "model info": ("GET", f"/api/models/{NAMESPACE}/{{name}}"),
        "tree": ("GET", f"/api/models/{NAMESPACE}/{{name}}/tree/main?recursive=true"),
        "resolve HEAD": ("HEAD", f"/{NAMESPACE}/{{name}}/resolve/main/config.json"),
    }


def time_requests(client: httpx.Client, method: str, path: str, repos: int, count: int, seed: int):
    """Seconds of ``count`` requests over random repositories."""
    chance = random.Random(seed)
    seconds = []
    for _ in range(count):
        url = path.format(name=f"model-{chance.randrange(repos):04d}")
        started = time.perf_counter()
        client.request(method, url).raise_for_status()
        seconds.append(time.perf_counter() - started)
    return seconds


@contextlib.contextmanager
def constant_server() -> Iterator[httpx.Client]:
    """The floor, in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "bench.constant:app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], cwd=ROOT)
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            wait_until(lambda: answers(client), timeout_s=60)
            yield client
    finally:
        process.terminate()
        process.wait()


def answers(client: httpx.Client) -> bool:
    """Whether the server behind ``client`` is up."""
    with contextlib.suppress(httpx.TransportError):
        return client.get("/").is_success
    return False


@contextlib.contextmanager
def postgres_database() -> Iterator[str]:
    """URL of an empty database in a private PostgreSQL cluster, durable as in production."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        raise SystemExit("this bench needs PostgreSQL: apt-get install postgresql")
    base = Path(tempfile.mkdtemp(prefix="clade-pg-"))
    as_user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(base, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data, port = base / "data", free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": base}
    initdb = [programs / "initdb", "-A", "trust", "-U", "clade", "-E", "UTF8", "-D", data]
    subprocess.run(initdb, check=True, **quiet, **as_user)
    options = ("-c", f"port={port}", "-c", "listen_addresses=127.0.0.1")
    sockets = ("-c", f"unix_socket_directories={base}")
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *options, *sockets], **quiet, **as_user
    )
    try:
        ask = [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "clade", "hub"]
        wait_until(lambda: subprocess.run(ask, check=False, **quiet).returncode == 0, 60, 0.2)
        yield f"postgresql://clade@127.0.0.1:{port}/hub"
    finally:
        server.send_signal(2)  # fast shutdown: does not wait for clients
        server.wait()
        shutil.rmtree(base, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.api_latency", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 repositories, fewer requests")
    arguments = parser.parse_args()
    repos, count, rounds = (100, 50, 2) if arguments.quick else (1000, 200, 5)
    times: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        database = {"database_url": stack.enter_context(postgres_database())}
        hubs = {
            "SQLite": stack.enter_context(LiveHub(directory / "sqlite")),
            "PostgreSQL": stack.enter_context(LiveHub(directory / "postgres", database)),
        }
        clients = {"constant": stack.enter_context(constant_server())}
        for name, hub in hubs.items():
            fill(hub, repos)
            hub.settle()
            clients[name] = stack.enter_context(hub.http())
        for seed in range(rounds):
            for label, (method, path) in requests().items():
                for server, client in clients.items():
                    seconds = time_requests(client, method, path, repos, count, seed)
                    times.setdefault((label, server), []).extend(seconds)
    rows = []
    for label in requests():
        floor = median(times[label, "constant"])
        row: list[object] = [label, f"{floor * 1e3:.2f}"]
        for server in hubs:
            values = times[label, server]
            row += [f"{median(values) * 1e3:.2f}", f"{percentile(values, 99) * 1e3:.2f}"]
            row.append(f"{median(values) / floor:.1f}")
        rows.append(row)
    print_table(
        f"API latency, ms: {repos} repositories, {rounds * count} requests each, keep-alive",
        ["request", "constant p50", "SQLite p50", "p99", "×", "PostgreSQL p50", "p99", "×"],
        rows,
        "×: p50 beside the same HTTP stack (FastAPI, uvicorn) answering a constant.",
    )


if __name__ == "__main__":
    main()
