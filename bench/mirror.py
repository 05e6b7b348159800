"""A file through a mirror, the first time and the second, beside the upstream itself.

Prints seconds, megabytes a second and the time to the first byte of each way, their ratio to the
download from the upstream in the same round, and how often the upstream sent the bytes: once with
the upstream on this machine, where all share its cores, and once by a line that limits each
connection. Meanwhile another client asks for the end of the file.

    python -m bench.mirror [--quick] [--mb 256] [--rounds 3] [--line-mb-s 40]
"""

import argparse
import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import TOKEN, LiveHub, workspace
from bench.line import line_to
from bench.report import mb, median, median_ratio, print_table

REPO = f"{NAMESPACE}/mirrored"
WHOLE = ("upstream", "mirror, first", "mirror, second")
WAYS = (*WHOLE, "mirror, its end meanwhile")
HEAD = ("from", "s", "MB/s", "first byte s", "speed / upstream", "times sent")
TAIL_NBYTES = 64 << 10


@dataclass(frozen=True)
class Got:
    """One download."""

    seconds: float
    first_byte_s: float
    sha256: str


def download(url: str, name: str, part: str | None = None) -> Got:
    """One file, or a range of it, by plain HTTP."""
    headers = {"authorization": f"Bearer {TOKEN}"} | ({"range": part} if part else {})
    started = time.perf_counter()
    first = 0.0
    digest = hashlib.sha256()
    address = f"{url}/{REPO}/resolve/main/{name}"
    with httpx.stream("GET", address, headers=headers, timeout=600, trust_env=False) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            first = first or time.perf_counter() - started
            digest.update(chunk)
    return Got(time.perf_counter() - started, first, digest.hexdigest())


def sent_nbytes(url: str) -> int:
    """Bytes of LFS objects that a hub sent so far: what a mirror fetches by."""
    text = httpx.get(f"{url}/metrics", timeout=60).text
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--line-mb-s", type=int, default=40, help="of one connection")
    arguments = parser.parse_args()
    nbytes = 10**6 * (32 if arguments.quick else arguments.mb)
    with workspace() as base, LiveHub(base / "upstream") as upstream:
        digests = publish(upstream, base / "files", arguments.rounds, nbytes)
        port = int(upstream.url.rpartition(":")[2])
        near = compare(base / "near", upstream, upstream.url, digests, nbytes)
        with line_to(port, arguments.line_mb_s * 10**6) as url:
            far = compare(base / "far", upstream, url, digests, nbytes)
    for title, rows in (
        ("the upstream on this machine", near),
        (f"a line of {arguments.line_mb_s} MB/s a connection to it", far),
    ):
        print_table(f"A file of {mb(nbytes)} MB, {arguments.rounds} rounds, {title}", HEAD, rows)


def compare(
    root: Path, upstream: LiveHub, url: str, digests: dict[str, str], nbytes: int
) -> list[tuple[str, ...]]:
    """Each file from the upstream by a way to it, and twice through a mirror that has that way."""
    settings = {"upstream": url, "mirror__token": TOKEN}
    done: dict[str, list[Got]] = {way: [] for way in WAYS}
    with LiveHub(root, settings) as mirror:
        mirror.get(f"/api/models/{REPO}")
        mirror.settle()
        before = sent_nbytes(upstream.url)
        for name, sha256 in digests.items():
            done["upstream"].append(download(url, name))
            with ThreadPoolExecutor(1) as clients:
                first = clients.submit(download, mirror.url, name)
                tail = download(mirror.url, name, f"bytes=-{TAIL_NBYTES}")
                done["mirror, its end meanwhile"].append(tail)
                done["mirror, first"].append(first.result())
            mirror.settle()
            done["mirror, second"].append(download(mirror.url, name))
            assert all(done[way][-1].sha256 == sha256 for way in WHOLE), "other bytes"
        fetched = (sent_nbytes(upstream.url) - before) / (len(digests) * nbytes)
    direct = [got.seconds for got in done["upstream"]]
    return [
        (
            way,
            f"{median([got.seconds for got in done[way]]):.2f}",
            f"{nbytes / 1e6 / median([got.seconds for got in done[way]]):.0f}"
            if way in WHOLE
            else "",
            f"{median([got.first_byte_s for got in done[way]]):.3f}",
            f"{median_ratio(direct, [got.seconds for got in done[way]]):.2f}"
            if way in WHOLE
            else "",
            f"{fetched:.3f}" if way == "mirror, first" else "",
        )
        for way in WAYS
    ]


if __name__ == "__main__":
    main()
