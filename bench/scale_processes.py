"""Uploads and downloads per second with one, two and four API processes on one database.

Clients in processes of their own, behind no balancer: each talks to one server. On a machine with
few cores more processes cannot serve more; what is shown then is what sharing costs: CPU per file.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.hub import LiveHub, workspace
from bench.postgres import postgres_database
from bench.report import median, percentile, print_table

NAMESPACE = "scale"
TOKEN = "hf_scale"
CLIENTS = 8
FILE_NBYTES = 1 << 20
Pairs = list[tuple[float, float]]
"""Seconds of an upload and of the download of the same file."""


@contextlib.contextmanager
def servers(directory: Path, url: str, count: int) -> Iterator[list[LiveHub]]:
    """API processes that share a database and a directory of objects; jobs run in none of them."""
    shared = {"database_url": url, "jobs__threads": "0", "data": str(directory / "shared")}
    shared["store_url"] = (directory / "objects").as_uri()
    with contextlib.ExitStack() as stack:
        live = [
            stack.enter_context(LiveHub(directory / f"api-{number}", shared))
            for number in range(count)
        ]
        live[0].clade("user", "create", NAMESPACE, "--token", TOKEN)
        yield live


def client(url: str, name: str, rounds: int) -> Pairs:
    """Upload and download files of random bytes, one after the other."""
    pairs: Pairs = []
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=url, headers=headers, timeout=120, trust_env=False, follow_redirects=True
    ) as http:
        http.post("/api/repos/create", json={"name": name}).raise_for_status()
        for number in range(rounds):
            payload = os.urandom(FILE_NBYTES)
            began = time.perf_counter()
            upload(http, f"{NAMESPACE}/{name}", f"file-{number}", payload)
            uploaded = time.perf_counter()
            back = http.get(f"/{NAMESPACE}/{name}/resolve/main/file-{number}").raise_for_status()
            pairs.append((uploaded - began, time.perf_counter() - uploaded))
            assert back.content == payload
    return pairs


def upload(http: httpx.Client, repo: str, path: str, payload: bytes) -> None:
    """What git-lfs and `hf upload` do without Xet: batch, PUT, commit."""
    oid = hashlib.sha256(payload).hexdigest()
    batch = http.post(
        f"/{repo}.git/info/lfs/objects/batch",
        headers={"Accept": "application/vnd.git-lfs+json"},
        json={
            "operation": "upload",
            "transfers": ["basic"],
            "objects": [{"oid": oid, "size": len(payload)}],
        },
    ).raise_for_status()
    action = batch.json()["objects"][0]["actions"]["upload"]
    http.put(action["href"], headers=action.get("header", {}), content=payload).raise_for_status()
    lines = [
        {"key": "header", "value": {"summary": path, "description": ""}},
        {
            "key": "lfsFile",
            "value": {"path": path, "algo": "sha256", "oid": oid, "size": len(payload)},
        },
    ]
    http.post(
        f"/api/models/{repo}/commit/main",
        headers={"Content-Type": "application/x-ndjson"},
        content="\n".join(json.dumps(line) for line in lines),
    ).raise_for_status()


def measured(directory: Path, url: str, count: int, rounds: int) -> list[object]:
    """One row: all clients at once, spread over ``count`` servers."""
    with servers(directory, url, count) as live, multiprocessing.Pool(CLIENTS) as pool:
        run = base64.b32encode(os.urandom(5)).decode().lower()
        before = sum(server.cpu_s() for server in live)
        began = time.perf_counter()
        jobs = [
            pool.apply_async(client, (live[number % count].url, f"m{run}{number}", rounds))
            for number in range(CLIENTS)
        ]
        pairs = [pair for job in jobs for pair in job.get()]
        wall_s = time.perf_counter() - began
        cpu_s = sum(server.cpu_s() for server in live) - before
    uploads, downloads = zip(*pairs, strict=True)
    return [
        str(count),
        f"{len(pairs) / wall_s:.1f}",
        f"{median(uploads) * 1e3:.0f}",
        f"{percentile(uploads, 99) * 1e3:.0f}",
        f"{median(downloads) * 1e3:.0f}",
        f"{percentile(downloads, 99) * 1e3:.0f}",
        f"{cpu_s / len(pairs) * 1e3:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_processes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer files")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2, 4], help="how many, one after another"
    )
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else 40
    with workspace() as directory, postgres_database() as url:
        rows = [measured(directory, url, count, rounds) for count in arguments.processes]
    print_table(
        f"{CLIENTS} clients, each uploading and downloading {rounds} files of 1 MiB"
        f" ({os.cpu_count()} cores, clients and PostgreSQL among them)",
        ["processes", "pairs/s", "upload ms p50", "p99", "download ms p50", "p99", "CPU ms/pair"],
        rows,
        "CPU: of the API processes, for one upload and one download.",
    )


if __name__ == "__main__":
    main()
