"""A file through a mirror, the first time and the second, beside the upstream itself.

Prints seconds, megabytes a second and the time to the first byte of each way, their ratio to the
download from the upstream in the same round, and how often the upstream sent the bytes.

    python -m bench.mirror [--quick] [--mb 256] [--rounds 5]
"""

import argparse
import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import TOKEN, LiveHub, workspace
from bench.report import mb, median, median_ratio, print_table

REPO = f"{NAMESPACE}/mirrored"
WAYS = ("upstream", "mirror, first", "mirror, second")


@dataclass(frozen=True)
class Got:
    """One download."""

    seconds: float
    first_byte_s: float
    sha256: str


def download(hub: LiveHub, name: str) -> Got:
    """One file by plain HTTP."""
    started = time.perf_counter()
    first = 0.0
    digest = hashlib.sha256()
    with hub.http() as client, client.stream("GET", f"/{REPO}/resolve/main/{name}") as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            first = first or time.perf_counter() - started
            digest.update(chunk)
    return Got(time.perf_counter() - started, first, digest.hexdigest())


def sent_nbytes(hub: LiveHub) -> int:
    """Bytes of LFS objects that a hub sent so far: what a mirror fetches by."""
    text = httpx.get(f"{hub.url}/metrics", timeout=60).text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("clade_http_sent_bytes_total") and "/lfs/objects/{sealed}" in line
    )


def publish(upstream: LiveHub, folder: Path, count: int, nbytes: int) -> dict[str, str]:
    """Upload files of random bytes; their SHA-256 by name."""
    folder.mkdir()
    digests: dict[str, str] = {}
    for number in range(count):
        data = random.Random(number).randbytes(nbytes)
        (folder / f"{number}.bin").write_bytes(data)
        digests[f"{number}.bin"] = hashlib.sha256(data).hexdigest()
    upstream.client().upload(REPO, folder)
    upstream.settle()
    return digests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mb", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    nbytes = 10**6 * (32 if arguments.quick else arguments.mb)
    rounds = 3 if arguments.quick else arguments.rounds
    with workspace() as base, LiveHub(base / "upstream") as upstream:
        digests = publish(upstream, base / "files", rounds, nbytes)
        settings = {"upstream": upstream.url, "mirror__token": TOKEN}
        with LiveHub(base / "mirror", settings) as mirror:
            mirror.get(f"/api/models/{REPO}")
            ways: dict[str, Callable[[str], Got]] = {
                "upstream": lambda name: download(upstream, name),
                "mirror, first": lambda name: download(mirror, name),
                "mirror, second": lambda name: download(mirror, name),
            }
            done: dict[str, list[Got]] = {way: [] for way in WAYS}
            for name, sha256 in digests.items():
                for way in WAYS:
                    if way == "mirror, second":
                        mirror.settle()
                    got = ways[way](name)
                    assert got.sha256 == sha256, f"{way}: other bytes"
                    done[way].append(got)
            fetched = sent_nbytes(upstream)
    direct = [got.seconds for got in done["upstream"]]
    print_table(
        f"A file of {mb(nbytes)} MB, {rounds} rounds",
        ("from", "s", "MB/s", "first byte s", "speed / upstream"),
        [
            (
                way,
                f"{median([got.seconds for got in done[way]]):.2f}",
                f"{nbytes / 1e6 / median([got.seconds for got in done[way]]):.0f}",
                f"{median([got.first_byte_s for got in done[way]]):.3f}",
                f"{median_ratio(direct, [got.seconds for got in done[way]]):.2f}",
            )
            for way in WAYS
        ],
        f"the upstream sent the mirror {mb(fetched)} MB: {fetched / (rounds * nbytes):.3f} times",
    )


if __name__ == "__main__":
    main()
