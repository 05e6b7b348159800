"""What a hub costs as it grows: requests, collection, check and measurement, queue, restart.

On PostgreSQL and a directory of objects. A cost that should not grow with the hub is printed for
every size, with how often the largest costs the smallest: in milliseconds, and in database pages
that a request touches, which no other load on the machine can change.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from sqlalchemy import func, select

from app.db.tables import Instance, Job
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub, open_hub
from app.jobs.lease import claim_next
from app.jobs.outbox import enqueue
from app.settings import Settings
from app.stats import measure
from bench import scale_rows
from bench.hub import CommandFailed, LiveHub, workspace
from bench.postgres import postgres_database
from bench.report import median, percentile, print_table

REQUESTS = 60
"""Of each kind, per size, timed."""

COUNTED = 20
"""Of each kind, per size, whose pages are counted."""


def requests() -> dict[str, Callable[[httpx.Client, str, int], httpx.Response]]:
    """What is asked of one repository; each takes the client, the repository and a number."""
    lfs_headers = {"Accept": "application/vnd.git-lfs+json"}
    return {
        "info": lambda http, repo, _n: http.get(f"/api/models/{repo}"),
        "tree of 100": lambda http, repo, _n: http.get(f"/api/models/{repo}/tree/main"),
        "paths-info": lambda http, repo, n: http.post(
            f"/api/models/{repo}/paths-info/main", json={"paths": [f"file-{n % 100}"]}
        ),
        "resolve HEAD": lambda http, repo, n: http.head(f"/{repo}/resolve/main/file-{n % 100}"),
        "LFS batch": lambda http, repo, n: http.post(
            f"/{repo}.git/info/lfs/objects/batch",
            headers=lfs_headers,
            json={
                "operation": "upload",
                "transfers": ["basic"],
                "objects": [{"oid": f"{n:064x}", "size": 1000}],
            },
        ),
        "commit": lambda http, repo, n: http.post(
            f"/api/models/{repo}/commit/main",
            headers={"Content-Type": "application/x-ndjson"},
            content="\n".join(json.dumps(line) for line in _commit_lines(n)),
        ),
    }


def _commit_lines(number: int) -> list[dict[str, object]]:
    content = base64.b64encode(str(number).encode()).decode()
    file = {"path": f"note-{number}", "content": content, "encoding": "base64"}
    return [
        {"key": "header", "value": {"summary": f"change {number}", "description": ""}},
        {"key": "file", "value": file},
    ]


def time_requests(url: str, token: str, repos: int, seed: int) -> dict[str, list[float]]:
    """Seconds of every kind of request over random repositories."""
    chance = random.Random(seed)
    seconds: dict[str, list[float]] = {}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as http:
        for round_ in range(REQUESTS):
            for label, ask in requests().items():
                repo = f"{scale_rows.NAMESPACE}/model-{chance.randint(1, repos)}"
                began = time.perf_counter()
                answer = ask(http, repo, seed * REQUESTS + round_)
                seconds.setdefault(label, []).append(time.perf_counter() - began)
                if not answer.is_success:
                    raise CommandFailed(f"{label} of {repo}: {answer.status_code} {answer.text}")
    return seconds


def count_pages(url: str, server: str, token: str, repos: int, seed: int) -> dict[str, float]:
    """Database pages that one request of each kind touches, in memory or not."""
    chance = random.Random(seed)
    pages: dict[str, float] = {}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server, headers=headers, timeout=120, trust_env=False) as http:
        for label, ask in requests().items():
            before = scale_rows.pages_touched(url)
            for round_ in range(COUNTED):
                repo = f"{scale_rows.NAMESPACE}/model-{chance.randint(1, repos)}"
                ask(http, repo, seed * REQUESTS + round_).raise_for_status()
            pages[label] = (scale_rows.pages_touched(url) - before) / COUNTED
    return pages


def spread_objects(root: Path, *, before: int, objects: int) -> None:
    """Files of the right length, and of no weight, for the rows' objects."""
    folder = root / "o" / "scale" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(before + 1, objects + 1):
        with (folder / str(number)).open("wb") as file:
            os.truncate(file.fileno(), 10_000)


def whole_hub_work(hub: Hub) -> dict[str, float]:
    """Seconds of everything that looks at the whole hub."""
    work: dict[str, Callable[[], object]] = {
        "collect": lambda: collect(hub),
        "fsck": lambda: fsck(hub),
        "measure": lambda: measure(hub),
    }
    spent = {}
    for label, run in work.items():
        began = time.perf_counter()
        run()
        spent[label] = time.perf_counter() - began
    return spent


def growth(url: str, directory: Path, sizes: list[int]) -> None:
    """Latency of requests and cost of whole-hub work at every size."""
    latencies: dict[int, dict[str, list[float]]] = {}
    pages: dict[int, dict[str, float]] = {}
    whole: dict[int, dict[str, float]] = {}
    settings = {"database_url": url, "jobs__threads": "0"}
    before = 0
    for files in sizes:
        live = LiveHub(directory / "growth", settings)
        with live:
            live.clade("user", "create", scale_rows.NAMESPACE, "--token", "hf_scale")
            scale_rows.grow(url, before=before, files=files)
            objects = live.data / "objects"
            per_object = scale_rows.CONTENTS_PER_OBJECT
            spread_objects(objects, before=before // per_object, objects=files // per_object)
            repos = files // scale_rows.FILES_PER_REPO
            time_requests(live.url, "hf_scale", repos, seed=files)  # warms caches of both sides
            latencies[files] = time_requests(live.url, "hf_scale", repos, seed=files + 1)
            pages[files] = count_pages(url, live.url, "hf_scale", repos, seed=files + 2)
        with opened(url, live.data) as hub:
            whole[files] = whole_hub_work(hub)
        before = files
        print_requests(latencies, pages)
        print_whole(whole)
    print_table(
        "Bytes in PostgreSQL per file, indexes included",
        ["table", "bytes"],
        [[table, f"{nbytes / sizes[-1]:.0f}"] for table, nbytes in scale_rows.table_nbytes(url)],
        "One content a file here; a file of n tensors has n + 1 segments, contents and encodings.",
    )


def print_requests(
    latencies: Mapping[int, Mapping[str, list[float]]], pages: Mapping[int, Mapping[str, float]]
) -> None:
    sizes = list(latencies)
    head = ["request", *(cell for size in sizes for cell in (f"{size:,} p50", "p99", "pages"))]
    rows = []
    for label in requests():
        row: list[object] = [label]
        for size in sizes:
            values = latencies[size][label]
            row += [f"{median(values) * 1e3:.1f}", f"{percentile(values, 99) * 1e3:.1f}"]
            row.append(f"{pages[size][label]:.0f}")
        growth = pages[sizes[-1]][label] / pages[sizes[0]][label]
        rows.append([*row, f"{growth:.2f}"])
    print_table(
        f"Requests, ms, by files in the hub ({scale_rows.FILES_PER_REPO} per repository)",
        [*head, "pages, largest / smallest"],
        rows,
        "Should be flat, but for the depth of indexes: nothing depends on what else the hub holds.",
    )


def print_whole(whole: Mapping[int, Mapping[str, float]]) -> None:
    rows = [
        [
            f"{files:,}",
            f"{files // scale_rows.CONTENTS_PER_OBJECT:,}",
            *(cell for s in spent.values() for cell in (f"{s:.1f}", f"{files / s / 1e3:.0f}")),
        ]
        for files, spent in whole.items()
    ]
    print_table(
        "Work over the whole hub: seconds, and thousands of files per second",
        ["files", "objects", "collect", "k/s", "fsck", "k/s", "measure", "k/s"],
        rows,
        "Linear by nature: the rate should stay. Nothing is to be collected and nothing is wrong.",
    )


@contextlib.contextmanager
def opened(url: str, data: Path):
    """The hub of a database and directory, in this process, knowing the rows' store epoch."""
    hub = open_hub(Settings(data=data, database_url=url))
    with hub.db.write() as session:
        session.get_one(Instance, "store_epoch").value = "scale"
    hub.store_epoch = "scale"
    try:
        yield hub
    finally:
        hub.close()


def queue(url: str, directory: Path, depths: list[int]) -> None:
    """Claims per second with more and more jobs queued, and the time to readiness over them."""
    rows = []
    live = LiveHub(directory / "queue", {"database_url": url, "jobs__threads": "0"})
    with live:
        pass
    with opened(url, live.data) as hub:
        for depth in depths:
            _fill_queue(hub, depth)
            seconds = []
            for _ in range(200):
                began = time.perf_counter()
                assert claim_next(hub, "bench") is not None
                seconds.append(time.perf_counter() - began)
            ready_s = _restart_s(live)
            row = [median(seconds), percentile(seconds, 99)]
            rows.append([f"{depth:,}", *(f"{value * 1e3:.2f}" for value in row), f"{ready_s:.1f}"])
    print_table(
        "The outbox: a claim, ms, and seconds from kill -9 to ready, by jobs queued",
        ["queued", "claim p50", "p99", "ready"],
        rows,
        "Should be flat. Ready is the start of a Python process and little else.",
    )


def _fill_queue(hub: Hub, depth: int) -> None:
    with hub.db.read() as session:
        there = session.scalar(select(func.count()).where(Job.state == "queued")) or 0
    with hub.db.write() as session:
        for number in range(there, depth + 200):
            key = f"file:{depth}-{number}"
            enqueue(session, hub, "encode", key=key, payload={"file_id": number})


def _restart_s(live: LiveHub) -> float:
    """Kill the server in the act, start it, and wait until it is ready."""
    with live:
        assert live.process is not None
        live.process.send_signal(signal.SIGKILL)
        live.process.wait()
    began = time.perf_counter()
    with live:
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 files, 1,000 jobs")
    parser.add_argument(
        "--files", type=int, default=1_000_000, help="files of the largest hub; default a million"
    )
    arguments = parser.parse_args()
    largest = 100_000 if arguments.quick else arguments.files
    sizes = [size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= largest]
    with workspace() as directory:
        with postgres_database() as url:
            growth(url, directory, sizes)
        with postgres_database() as url:
            queue(url, directory, [10, 1_000] if arguments.quick else [10, 1_000, 10_000, 100_000])


if __name__ == "__main__":
    main()
