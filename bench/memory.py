"""Peak memory of the server while large files come in, are encoded and go out; first bytes.

    python -m bench.memory [--gb N] [--quick] [--only transfers]

The embedded server with its jobs in the same process, so that everything adds up.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import LiveHub, wait_until, workspace
from bench.report import mb, median, percentile, print_table
from bench.synthetic import DRIFT, PooledModel

LIMIT_NBYTES = 700_000_000
TRANSFERS = 64
TRANSFERS_LIMIT_NBYTES = 600_000_000
EACH_NBYTES = 8 << 20
"""What one transfer may add."""

SLOW_LIMIT_NBYTES = 100_000_000
"""What all slow readers together may add; there may be ``rates.downloads`` of a caller."""

LARGE, BASE, TUNED, OTHER = (f"{NAMESPACE}/{name}" for name in ("large", "base", "tuned", "other"))


def put_large_file(hub: LiveHub, repo: str, model: PooledModel) -> None:
    """Upload ``model`` to a new repository, through the LFS lane, as it is generated."""
    nbytes = model.file_nbytes()
    sha256 = hashlib.sha256()
    for piece in model.stream():
        sha256.update(piece)
    oid = sha256.hexdigest()
    with hub.http() as client:
        create = {"name": repo.partition("/")[2], "organization": NAMESPACE, "type": "model"}
        client.post("/api/repos/create", json=create).raise_for_status()
        action = ask_slot(client, repo, oid, nbytes)
        length = {"Content-Length": str(nbytes)}
        httpx.put(
            action["upload"]["href"],
            content=model.stream(),
            headers=length | action["upload"].get("header", {}),
            timeout=3600,
            trust_env=False,
        ).raise_for_status()
        if verify := action.get("verify"):
            body = {"oid": oid, "size": nbytes}
            client.post(verify["href"], json=body, headers=verify.get("header")).raise_for_status()
        commit(client, repo, oid, nbytes)


def ask_slot(client: httpx.Client, repo: str, oid: str, nbytes: int) -> dict:
    """The upload action of one LFS object (basic transfer)."""
    batch = {
        "operation": "upload",
        "transfers": ["basic"],
        "objects": [{"oid": oid, "size": nbytes}],
        "hash_algo": "sha256",
    }
    kind = "application/vnd.git-lfs+json"
    answer = client.post(
        f"/{repo}.git/info/lfs/objects/batch",
        content=json.dumps(batch),
        headers={"Content-Type": kind, "Accept": kind},
    ).raise_for_status()
    return answer.json()["objects"][0]["actions"]


def commit(client: httpx.Client, repo: str, oid: str, nbytes: int) -> None:
    """Commit the uploaded object as model.safetensors."""
    file = {"path": "model.safetensors", "algo": "sha256", "oid": oid, "size": nbytes}
    lines = [
        {"key": "header", "value": {"summary": "large", "description": ""}},
        {"key": "lfsFile", "value": file},
    ]
    client.post(
        f"/api/models/{repo}/commit/main",
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
    url = f"/{LARGE}/resolve/main/model.safetensors"
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


def read_whole(hub: LiveHub, repo: str) -> None:
    """Download the file of a repository once and drop the bytes."""
    url = f"/{repo}/resolve/main/model.safetensors"
    with hub.http() as client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw(1 << 20):
            pass


def read_together(hub: LiveHub, repos: Sequence[str]) -> None:
    """The same of several at once."""
    with ThreadPoolExecutor(len(repos)) as pool:
        for _ in pool.map(lambda repo: read_whole(hub, repo), repos):
            pass


def stall(hub: LiveHub, repos: Sequence[str], pause_s: float = 5.0) -> None:
    """Begin to download several at once, then take nothing more for a while, and go away."""
    with ExitStack() as stack:
        client = stack.enter_context(hub.http())
        for repo in repos:
            url = f"/{repo}/resolve/main/model.safetensors"
            answer = stack.enter_context(client.stream("GET", url)).raise_for_status()
            next(answer.iter_raw(1))
        time.sleep(pause_s)


def crawl(hub: LiveHub, repo: str, readers: int, seconds: float) -> None:
    """Readers that take a KiB each second."""
    url = f"/{repo}/resolve/main/model.safetensors"
    with ExitStack() as stack:
        streams = []
        for _ in range(readers):
            client = stack.enter_context(hub.http())
            answer = stack.enter_context(client.stream("GET", url)).raise_for_status()
            streams.append(answer.iter_raw(1024))
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            begun = time.monotonic()
            for stream in streams:
                next(stream)
            time.sleep(max(0.0, begun + 1 - time.monotonic()))


class Phases:
    """Seconds and peak resident set of one thing after the other."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub
        self.rows: list[tuple[str, int, float, int]] = [("start", 0, 0.0, hub.peak_nbytes())]

    def run(self, name: str, nbytes: int, work: Callable[[], object]) -> None:
        """Do it, ``nbytes`` in all, and note what it took."""
        self._hub.reset_peak()
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        self.rows.append((name, nbytes, seconds, self._hub.peak_nbytes()))


def measure(directory: Path, nbytes: int, pair_nbytes: int, rounds: int) -> bool:
    """Run all phases and print them; whether memory stayed below the limit."""
    large, base = PooledModel(nbytes), PooledModel(pair_nbytes, seed=1)
    nbytes, pair_nbytes = large.file_nbytes(), base.file_nbytes()
    tuned, other = (replace(base, drift=DRIFT, drift_seed=seed) for seed in (1, 2))
    with LiveHub(directory) as hub:

        def encoded() -> None:
            wait_until(hub.is_idle, timeout_s=4 * 3600, pause_s=0.5)

        def put_pair() -> None:
            put_large_file(hub, BASE, base)
            put_large_file(hub, TUNED, tuned)

        def read_beside_encoding() -> None:
            put_large_file(hub, OTHER, other)
            read_together(hub, [TUNED] * 3 + [BASE])
            encoded()

        phases = Phases(hub)
        phases.run("upload (LFS PUT)", nbytes, lambda: put_large_file(hub, LARGE, large))
        phases.run("encode the rest", nbytes, encoded)
        waits = list(first_bytes(hub, nbytes, rounds))
        phases.run("download", nbytes, lambda: read_whole(hub, LARGE))
        phases.run("upload a base and its fine-tune", 2 * pair_nbytes, put_pair)
        phases.run("encode them", 2 * pair_nbytes, encoded)
        phases.run("download the fine-tune", pair_nbytes, lambda: read_whole(hub, TUNED))
        phases.run("4 downloads, another encoded", 5 * pair_nbytes, read_beside_encoding)
        phases.run("32 downloads that stall", 0, lambda: stall(hub, [TUNED, BASE] * 16))
        deltas = hub.stats()["deltas"]
    print_table(
        f"memory of the server, a file of {nbytes / 1e9:.1f} GB, others of {mb(pair_nbytes)} MB",
        ["phase", "seconds", "MB/s", "peak RSS MB"],
        [
            [name, f"{seconds:.1f}", f"{moved / seconds / 1e6:.0f}" if moved else "", mb(peak)]
            for name, moved, seconds, peak in phases.rows
        ],
        f"Jobs run in the same process and begin with the commit. {deltas} tensors are deltas.",
    )
    print_table(
        f"first byte of a body, {rounds} requests each",
        ["request", "median ms", "worst ms"],
        [
            [name, f"{median(times) * 1e3:.0f}", f"{percentile(times, 100) * 1e3:.0f}"]
            for name, times in waits
        ],
    )
    return max(peak for *_, peak in phases.rows) < LIMIT_NBYTES


def measure_transfers(directory: Path, nbytes: int, readers: int) -> bool:
    """Many transfers at once, a sixteenth of them uploads, by a server that runs no jobs.

    Whether memory stayed below its limits.
    """
    down, up = TRANSFERS - TRANSFERS // 16, TRANSFERS // 16
    base = PooledModel(nbytes, seed=1)
    models = [PooledModel(nbytes, seed=2 + number) for number in range(up)]
    nbytes = base.file_nbytes()
    with LiveHub(directory) as hub:
        put_large_file(hub, BASE, base)
        wait_until(hub.is_idle, timeout_s=3600, pause_s=0.5)
    others = {"jobs__threads": "0"}  # workers are processes of their own
    with (
        LiveHub(directory, others, makes_user=False) as hub,
        ThreadPoolExecutor(TRANSFERS) as pool,
    ):

        def transfer() -> None:
            going = [pool.submit(read_whole, hub, BASE) for _ in range(down)]
            for number, model in enumerate(models):
                going.append(pool.submit(put_large_file, hub, f"{OTHER}-{number}", model))
            for each in going:
                each.result()

        phases = Phases(hub)
        phases.run("one download", nbytes, lambda: read_whole(hub, BASE))
        phases.run(f"{down} downloads, {up} uploads", TRANSFERS * nbytes, transfer)
        phases.run("a pause", 0, lambda: time.sleep(5))
        phases.run(f"{readers} readers of a KiB a second", 0, lambda: crawl(hub, BASE, readers, 30))
    print_table(
        f"memory of the server, {TRANSFERS} transfers of {mb(nbytes)} MB at once",
        ["phase", "seconds", "peak RSS MB"],
        [[name, f"{seconds:.1f}", mb(peak)] for name, _, seconds, peak in phases.rows],
    )
    _, one, many, paused, slow = (peak for *_, peak in phases.rows)
    return (
        many < TRANSFERS_LIMIT_NBYTES
        and many - one < TRANSFERS * EACH_NBYTES
        and slow - paused < SLOW_LIMIT_NBYTES
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--gb", type=float, help="size of the file, GB; default 20 if it fits")
    parser.add_argument("--quick", action="store_true", help="1 GB")
    parser.add_argument("--only", choices=["transfers"], help="many transfers at once, no others")
    arguments = parser.parse_args()
    with workspace() as directory:
        free = shutil.disk_usage(directory).free
        gigabytes = arguments.gb or (1 if arguments.quick else min(20.0, free / 3e9))
        if arguments.only == "transfers":
            if not measure_transfers(directory, (1 << 26) if arguments.quick else (1 << 30), 190):
                sys.exit("the server needed more than it may")
            return
        pair_nbytes = (1 << 28) if arguments.quick else (1 << 30)
        rounds = 3 if arguments.quick else 10
        if not measure(directory, int(gigabytes * 1e9), pair_nbytes, rounds):
            sys.exit(f"the server needed more than {mb(LIMIT_NBYTES)} MB")


if __name__ == "__main__":
    main()
