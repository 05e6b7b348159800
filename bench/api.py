"""The API under load: latency, requests per second, CPU per request, on a hub of many repositories.

On SQLite and on PostgreSQL, answered by one process of the hub and by two, beside the same HTTP
stack answering a constant: the floor. Then ``snapshot_download`` of a thousand small files beside
nginx with the same bytes, and the memory of every process before and after.
"""

import argparse
import base64
import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx

from app.db import Database
from app.settings import Settings
from bench.corpus import NAMESPACE
from bench.cpu import process_cpu_s
from bench.crowd import fill, repo_name
from bench.hub import TOKEN, LiveHub, free_port, wait_until, workspace
from bench.postgres import postgres_database
from bench.report import median, percentile, print_table
from bench.snapshots import compare_snapshots

ROOT = Path(__file__).resolve().parents[1]
WIDE = f"{NAMESPACE}/wide"
CONNECTIONS = 4
"""Of the load that counts requests per second."""

Request = tuple[str, str, bytes, str]
"""Method, target, body and its type."""


@dataclass
class Side:
    """A hub, or the floor, as a set of processes that answer alike."""

    urls: Sequence[str]
    pids: Sequence[int]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far."""
        return sum(map(process_cpu_s, self.pids))

    def rss_mb(self) -> list[int]:
        """Resident set of each process, MB (Linux)."""
        return [_rss_kb(pid) // 1024 for pid in self.pids]


def requests(repos: int) -> dict[str, Callable[[random.Random], Request]]:
    """What is asked, with something drawn by chance where a cache could flatter."""
    api = "/api/models"

    def get(target: Callable[[random.Random], str], method: str = "GET"):
        return lambda chance: (method, target(chance), b"", "")

    def paths(chance: random.Random) -> Request:
        chosen = [("paths", _wide_path(chance.randrange(10_000))) for _ in range(100)]
        body = urlencode(chosen).encode()
        return "POST", f"{api}/{WIDE}/paths-info/main", body, "application/x-www-form-urlencoded"

    def public(chance: random.Random) -> str:
        number = chance.randrange(repos)
        return repo_name(number - 1 if number % 7 == 3 else number)

    return {
        "whoami": get(lambda _: "/api/whoami-v2"),
        "model info": get(lambda chance: f"{api}/{public(chance)}"),
        "tree of 10,000, a page": get(lambda _: f"{api}/{WIDE}/tree/main?recursive=true"),
        "paths-info of 100": paths,
        "resolve HEAD": get(
            lambda chance: f"/{WIDE}/resolve/main/{_wide_path(chance.randrange(10_000))}", "HEAD"
        ),
        "search, rare": get(lambda chance: f"{api}?search=net{chance.randrange(repos)}&limit=20"),
        "search, common": get(lambda _: f"{api}?search=net&filter=license:mit&limit=20"),
        "list by likes": get(lambda _: f"{api}?sort=likes&limit=20"),
    }


def commit_of(files: int, seed: int) -> Request:
    """A commit of small files that nobody has committed before."""
    lines: list[dict] = [{"key": "header", "value": {"summary": f"{files} files, {seed}"}}]
    for number in range(files):
        content = base64.b64encode(f"file {number} of commit {seed}".encode()).decode()
        value = {"path": f"c{seed}/{number:04}.txt", "content": content, "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    body = "\n".join(map(json.dumps, lines)).encode()
    return "POST", f"/api/models/{NAMESPACE}/commits/commit/main", body, "application/x-ndjson"


class Connection:
    """A keep-alive connection that costs the bench as little as Python allows."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def send(self, request: Request) -> float:
        """Seconds until the answer was read. Raises AssertionError for a refusal."""
        method, target, body, media_type = request
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if media_type:
            headers["Content-Type"] = media_type
        started = time.perf_counter()
        self._http.request(method, target, body or None, headers)
        answer = self._http.getresponse()
        said = answer.read()
        assert answer.status < 400, f"{method} {target}: {answer.status} {said[:200]!r}"
        return time.perf_counter() - started


def measure(side: Side, name: str, ask: Callable[[random.Random], Request], count: int) -> None:
    """Latency over one connection; then the rate and the CPU of several at once."""
    chance = random.Random(len(side.seconds.get(name, ())))
    one = Connection(side.urls[0])
    side.seconds.setdefault(name, []).extend(one.send(ask(chance)) for _ in range(count))

    def work(number: int) -> None:
        connection = Connection(side.urls[number % len(side.urls)])
        own = random.Random(number)
        for _ in range(count // 2):
            connection.send(ask(own))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    used, started = side.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = CONNECTIONS * (count // 2)
    side.rates.setdefault(name, []).append(sent / (time.perf_counter() - started))
    side.cpu_ms.setdefault(name, []).append((side.cpu_s() - used) / sent * 1e3)


def measure_commits(side: Side, rounds: range) -> None:
    """A commit of a thousand files, again and again into one growing repository."""
    connection = Connection(side.urls[0])
    name = "commit of 1,000 files"
    for seed in rounds:
        used = side.cpu_s()
        took = connection.send(commit_of(1_000, seed))
        side.seconds.setdefault(name, []).append(took)
        side.rates.setdefault(name, []).append(1 / took)
        side.cpu_ms.setdefault(name, []).append((side.cpu_s() - used) * 1e3)


def make_repos(hub: LiveHub) -> None:
    """A repository of 10,000 files in a hundred directories, and one to commit to."""
    with hub.http() as client:
        for name in ("wide", "commits"):
            body = {"name": name, "organization": NAMESPACE, "type": "model"}
            client.post("/api/repos/create", json=body).raise_for_status()
        for start in range(0, 10_000, 2_000):
            lines: list[dict] = [{"key": "header", "value": {"summary": "files"}}]
            for number in range(start, start + 2_000):
                content = base64.b64encode(b"%d" % number).decode()
                value = {"path": _wide_path(number), "content": content, "encoding": "base64"}
                lines.append({"key": "file", "value": value})
            body = "\n".join(map(json.dumps, lines))
            client.post(f"/api/models/{WIDE}/commit/main", content=body).raise_for_status()
    hub.settle()


def _wide_path(number: int) -> str:
    return f"part-{number // 100:02}/file-{number % 100:02}.json"


def _rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@contextlib.contextmanager
def constant_server() -> Iterator[Side]:
    """The floor, in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "bench.constant:app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], cwd=ROOT)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, trust_env=False).is_success
        return False

    try:
        wait_until(answers, timeout_s=60)
        yield Side([url], [process.pid])
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def hubs(root: Path, settings: dict[str, str], repos: int) -> Iterator[tuple[Side, Side]]:
    """One process of a filled hub, and the same together with a second one."""
    with LiveHub(root, settings) as first:
        make_repos(first)
        known = Settings.model_validate({"data": first.data, **settings})
        database = Database(known.resolved_database_url)
        fill(database, repos)
        database.dispose()
        with LiveHub(root, settings, makes_user=False) as second:
            pids = [hub.process.pid for hub in (first, second) if hub.process is not None]
            yield Side([first.url], pids[:1]), Side([first.url, second.url], pids)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 repositories, fewer requests")
    parser.add_argument("--repos", type=int, default=0, help="how many repositories (100,000)")
    arguments = parser.parse_args()
    repos = arguments.repos or (2_000 if arguments.quick else 100_000)
    count, rounds = (40, 2) if arguments.quick else (100, 3)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        database = {"database_url": stack.enter_context(postgres_database())}
        sides = {"constant": stack.enter_context(constant_server())}
        for name, settings in (("SQLite", {}), ("PostgreSQL", database)):
            pair = stack.enter_context(hubs(directory / name.lower(), settings, repos))
            sides[name], sides[f"{name}, two processes"] = pair
        for side in sides.values():
            for ask in requests(repos).values():
                Connection(side.urls[-1]).send(ask(random.Random(0)))
        before = {name: side.rss_mb() for name, side in sides.items()}
        for number in range(rounds):
            for name, ask in requests(repos).items():
                for side in sides.values():
                    measure(side, name, ask, count)
            for at, side in enumerate(sides.values()):
                start = (at * rounds + number) * 3
                measure_commits(side, range(start, start + 3))
        tell(sides, f"API, {repos:,} repositories, {CONNECTIONS} connections for the rate")
        print_table(
            "Resident set of the server, MB",
            ["side", "before", "after"],
            [[name, before[name], side.rss_mb()] for name, side in sides.items()],
        )
        compare_snapshots(directory, sides["SQLite"].urls[0], TOKEN, rounds)


def tell(sides: dict[str, Side], title: str) -> None:
    """Print every request of every side."""
    rows = [
        [
            name,
            label,
            f"{median(side.seconds[name]) * 1e3:.1f}",
            f"{percentile(side.seconds[name], 99) * 1e3:.1f}",
            f"{median(side.rates[name]):.0f}" if len(side.rates[name]) else "",
            f"{median(side.cpu_ms[name]):.1f}",
        ]
        for name in next(iter(sides.values())).seconds
        for label, side in sides.items()
    ]
    print_table(title, ["request", "side", "p50 ms", "p99 ms", "req/s", "server CPU ms"], rows)


if __name__ == "__main__":
    main()
