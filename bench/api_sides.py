"""The contenders of the API bench: hubs of one process and of two, and the floor of their stack."""

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.db import Database
from app.settings import Settings
from bench.api_requests import Ask, Connection, commit_of, make_repos
from bench.cpu import process_cpu_s
from bench.crowd import fill
from bench.hub import LiveHub, free_port, wait_until

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 4
"""Of the load that counts requests per second."""

NO_JOBS = {"jobs__threads": "0"}
"""While the API is measured: they are for other processes, and the crowd's bytes are not there."""


@dataclass
class Side:
    """A hub, or the floor, as a set of processes that answer alike."""

    urls: Sequence[str]
    pids: Sequence[int]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    rss: list[int] = field(default_factory=list)
    """Resident set of all processes, MB, each time it was looked at."""

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far."""
        return sum(map(process_cpu_s, self.pids))

    def look_at_memory(self) -> None:
        """Note the resident set (Linux)."""
        self.rss.append(sum(map(_rss_kb, self.pids)) // 1024)

    def measure(self, name: str, ask: Ask, count: int) -> None:
        """Latency over one connection; then the rate and the CPU of several at once."""
        chance = random.Random(len(self.seconds.get(name, ())))
        one = Connection(self.urls[0])
        self.seconds.setdefault(name, []).extend(one.send(ask(chance)) for _ in range(count))

        def work(number: int) -> None:
            connection = Connection(self.urls[number % len(self.urls)])
            own = random.Random(number)
            for _ in range(count // 2):
                connection.send(ask(own))

        threads = [threading.Thread(target=work, args=(at,)) for at in range(CONNECTIONS)]
        used, started = self.cpu_s(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = CONNECTIONS * (count // 2)
        self.rates.setdefault(name, []).append(sent / (time.perf_counter() - started))
        self.cpu_ms.setdefault(name, []).append((self.cpu_s() - used) / sent * 1e3)

    def measure_commits(self, seeds: range) -> None:
        """A commit of a thousand files, again and again into one growing repository."""
        connection = Connection(self.urls[0])
        name = "commit of 1,000 files"
        for seed in seeds:
            used = self.cpu_s()
            took = connection.send(commit_of(1_000, seed))
            self.seconds.setdefault(name, []).append(took)
            self.rates.setdefault(name, []).append(1 / took)
            self.cpu_ms.setdefault(name, []).append((self.cpu_s() - used) * 1e3)


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
def filled_hub(root: Path, settings: dict[str, str], repos: int) -> Iterator[LiveHub]:
    """A hub of so many repositories; one that an earlier run left there is taken as it is."""
    mark = root / f"filled-{repos}"
    if not mark.exists():
        with LiveHub(root, settings) as hub:
            make_repos(hub)
            known = Settings.model_validate({"data": hub.data, **settings})
            database = Database(known.resolved_database_url)
            fill(database, repos)
            database.dispose()
        mark.touch()
    with LiveHub(root, settings | NO_JOBS, makes_user=False) as hub:
        yield hub


@contextlib.contextmanager
def hub_sides(name: str, first: LiveHub, settings: dict[str, str]) -> Iterator[dict[str, Side]]:
    """A hub by itself, and together with a second process of it."""
    with LiveHub(first.root, settings | NO_JOBS, makes_user=False) as second:
        pids = [hub.process.pid for hub in (first, second) if hub.process is not None]
        yield {
            name: Side([first.url], pids[:1]),
            f"{name}, two processes": Side([first.url, second.url], pids),
        }


def _rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
