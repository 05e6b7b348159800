"""Peak memory of the server for a very large upload, and the first byte of very large downloads."""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import LiveHub, wait_until, workspace
from bench.report import mb, median, percentile, print_table
from bench.synthetic import PooledModel

LIMIT_NBYTES = 700_000_000
REPO = f"{NAMESPACE}/large"


def put_large_file(hub: LiveHub, model: PooledModel) -> float:
    """Upload ``model`` through the LFS lane as it is generated; return seconds of the PUT."""
    nbytes = model.file_nbytes()
    sha256 = hashlib.sha256()
    for piece in model.stream():
        sha256.update(piece)
    oid = sha256.hexdigest()
    with hub.http() as client:
        create = {"name": "large", "organization": NAMESPACE, "type": "model"}
        client.post("/api/repos/create", json=create).raise_for_status()
        action = ask_slot(client, oid, nbytes)
        started = time.perf_counter()
        length = {"Content-Length": str(nbytes)}
        httpx.put(
            action["upload"]["href"],
            content=model.stream(),
            headers=length | action["upload"].get("header", {}),
            timeout=3600,
            trust_env=False,
        ).raise_for_status()
        seconds = time.perf_counter() - started
        if verify := action.get("verify"):
            body = {"oid": oid, "size": nbytes}
            client.post(verify["href"], json=body, headers=verify.get("header")).raise_for_status()
        commit(client, oid, nbytes)
    return seconds


def ask_slot(client: httpx.Client, oid: str, nbytes: int) -> dict:
    """The upload action of one LFS object (basic transfer)."""
    batch = {
        "operation": "upload",
        "transfers": ["basic"],
        "objects": [{"oid": oid, "size": nbytes}],
        "hash_algo": "sha256",
    }
    kind = "application/vnd.git-lfs+json"
    answer = client.post(
        f"/{REPO}.git/info/lfs/objects/batch",
        content=json.dumps(batch),
        headers={"Content-Type": kind, "Accept": kind},
    ).raise_for_status()
    return answer.json()["objects"][0]["actions"]


def commit(client: httpx.Client, oid: str, nbytes: int) -> None:
    """Commit the uploaded object as model.safetensors."""
    file = {"path": "model.safetensors", "algo": "sha256", "oid": oid, "size": nbytes}
    lines = [
        {"key": "header", "value": {"summary": "large", "description": ""}},
        {"key": "lfsFile", "value": file},
    ]
    client.post(
        f"/api/models/{REPO}/commit/main",
        content="\n".join(json.dumps(line) for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    ).raise_for_status()


def first_bytes(hub: LiveHub, nbytes: int, rounds: int) -> Iterator[tuple[str, list[float]]]:
    """Seconds to the first byte of the body for several kinds of request."""
    middle = nbytes // 2
    ranges = {
        "whole file": None,
        "from the middle on": f"bytes={middle}-",
        "1 MiB in the middle": f"bytes={middle}-{middle + (1 << 20) - 1}",
        "last 4 KiB": "bytes=-4096",
    }
    url = f"/{REPO}/resolve/main/model.safetensors"
    with hub.http() as client:
        for name, header in ranges.items():
            waits = []
            for _ in range(rounds):
                started = time.perf_counter()
                headers = {"Range": header} if header else {}
                with client.stream("GET", url, headers=headers) as answer:
                    answer.raise_for_status()
                    next(answer.iter_raw(1))
                    waits.append(time.perf_counter() - started)
            yield name, waits


def read_whole(hub: LiveHub) -> float:
    """Download the file once, drop the bytes, and return the seconds."""
    started = time.perf_counter()
    url = f"/{REPO}/resolve/main/model.safetensors"
    with hub.http() as client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw(1 << 20):
            pass
    return time.perf_counter() - started


def measure(directory: Path, nbytes: int, rounds: int) -> bool:
    """Run all phases and print them; whether memory stayed below the limit."""
    model = PooledModel(nbytes)
    nbytes = model.file_nbytes()
    phases: list[tuple[str, float, int]] = []
    with LiveHub(directory) as hub:
        phases.append(("start", 0.0, hub.peak_nbytes()))
        hub.reset_peak()
        phases.append(("upload (LFS PUT)", put_large_file(hub, model), hub.peak_nbytes()))
        started = time.perf_counter()
        wait_until(hub.is_idle, timeout_s=4 * 3600, pause_s=0.5)
        phases.append(("encode the rest", time.perf_counter() - started, hub.peak_nbytes()))
        hub.reset_peak()
        waits = list(first_bytes(hub, nbytes, rounds))
        phases.append(("download", read_whole(hub), hub.peak_nbytes()))
    print_table(
        f"memory of the server, a file of {nbytes / 1e9:.1f} GB",
        ["phase", "seconds", "MB/s", "peak RSS MB"],
        [
            [name, f"{seconds:.1f}", f"{nbytes / seconds / 1e6:.0f}" if seconds else "", mb(peak)]
            for name, seconds, peak in phases
        ],
        "Encoding starts with the commit, in the same process.",
    )
    print_table(
        f"first byte of a body, {rounds} requests each",
        ["request", "median ms", "worst ms"],
        [
            [name, f"{median(times) * 1e3:.0f}", f"{percentile(times, 100) * 1e3:.0f}"]
            for name, times in waits
        ],
    )
    return max(peak for _, _, peak in phases) < LIMIT_NBYTES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--gb", type=float, help="size of the file, GB; default 20 if it fits")
    parser.add_argument("--quick", action="store_true", help="1 GB")
    arguments = parser.parse_args()
    with workspace() as directory:
        free = shutil.disk_usage(directory).free
        gigabytes = arguments.gb or (1 if arguments.quick else min(20.0, free / 3e9))
        if not measure(directory, int(gigabytes * 1e9), 3 if arguments.quick else 10):
            sys.exit(f"the server needed more than {mb(LIMIT_NBYTES)} MB")


if __name__ == "__main__":
    main()
