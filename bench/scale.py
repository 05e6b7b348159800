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
from collections.abc import Callable, Sequence
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
from bench.scale_figures import Figures

REQUESTS = 60
"""Of each kind, per size, timed."""

COUNTED = 20
"""Of each kind, per size, whose pages are counted."""

TOKEN = "hf_scale"

PARTS = ("latencies", "pages", "whole")
"""What is read at a size."""

STEP = 100_000
"""Files whose rows are made in one transaction."""


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
        before = scale_rows.pages_touched(url)
        for label, ask in requests().items():
            for round_ in range(COUNTED):
                repo = f"{scale_rows.NAMESPACE}/model-{chance.randint(1, repos)}"
                ask(http, repo, seed * REQUESTS + round_).raise_for_status()
            after = scale_rows.pages_touched(url)
            pages[label], before = (after - before) / COUNTED, after
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


def growth(
    url: str, directory: Path, sizes: list[int], figures: Figures, parts: Sequence[str]
) -> None:
    """Latency of requests and cost of whole-hub work at every size, where it is not known yet."""
    settings = {"database_url": url, "jobs__threads": "0"}
    for files in sizes:
        lacking = {part for part in parts if not figures.has(files, part)}
        if not lacking:
            continue
        live = LiveHub(directory / "growth", settings)
        with live:
            fill(live, url, files)
            repos = files // scale_rows.FILES_PER_REPO
            if "latencies" in lacking:
                time_requests(live.url, TOKEN, repos, seed=files)  # warms caches of both sides
                read = time_requests(live.url, TOKEN, repos, seed=files + 1)
                figures.add(files, latencies=read)
            if "pages" in lacking:
                figures.add(files, pages=count_pages(url, live.url, TOKEN, repos, seed=files + 2))
        if "whole" in lacking:
            with opened(url, live.data) as hub:
                figures.add(files, whole=whole_hub_work(hub))
        figures.add(files, tables=dict(scale_rows.table_nbytes(url)))
        figures.tell(list(requests()))


def fill(live: LiveHub, url: str, files: int) -> None:
    """Rows and objects for so many files, in steps: what a stop leaves is gone on from."""
    live.clade("user", "create", scale_rows.NAMESPACE, "--token", TOKEN)
    per_object = scale_rows.CONTENTS_PER_OBJECT
    for there in range(scale_rows.count_files(url), files, STEP):
        then = min(there + STEP, files)
        spread_objects(
            live.data / "objects", before=there // per_object, objects=then // per_object
        )
        scale_rows.grow(url, before=there, files=then)
    scale_rows.analyze(url)


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


def prepare(url: str, directory: Path, sizes: list[int]) -> None:
    """Fill the hub of the largest size, for runs to come."""
    with LiveHub(directory / "growth", {"database_url": url, "jobs__threads": "0"}) as live:
        fill(live, url, sizes[-1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 files, 1,000 jobs")
    parser.add_argument(
        "--files", type=int, default=1_000_000, help="files of the largest hub; default a million"
    )
    parser.add_argument("--part", choices=("growth", "queue"), help="only this; default both")
    parser.add_argument(
        "--keep",
        type=Path,
        help="where the hub and its figures stay: what a stop leaves, or an earlier run measured,"
        " is gone on from; sizes below what it holds by then are not measured",
    )
    parser.add_argument(
        "--read",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="of growth only these; with --keep the others another time",
    )
    parser.add_argument("--prepare", action="store_true", help="only fill the hub of --keep")
    arguments = parser.parse_args()
    if arguments.prepare and not arguments.keep:
        parser.error("--prepare is for --keep DIR")
    largest = 100_000 if arguments.quick else arguments.files
    sizes = [size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size < largest]
    depths = [10, 1_000] if arguments.quick else [10, 1_000, 10_000, 100_000]
    with workspace() as temporary:
        root = arguments.keep or temporary
        cluster = arguments.keep / "cluster" if arguments.keep else None
        if arguments.part != "queue":
            with postgres_database(cluster) as url:
                there = scale_rows.count_files(url) if cluster else 0
                sizes = [size for size in (*sizes, largest) if size >= there]
                if arguments.prepare:
                    prepare(url, root, sizes)
                    return
                growth(url, root, sizes, Figures(arguments.keep), arguments.read)
        if arguments.part != "growth":
            with postgres_database() as url:
                queue(url, temporary, depths)


if __name__ == "__main__":
    main()
