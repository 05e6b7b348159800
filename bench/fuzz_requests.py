"""Hostile bodies for every door that takes bytes, through the whole application.

    python -m bench.fuzz_requests [--inputs 10000] [--seed 0]

The bodies are those of :mod:`bench.fuzz_parsers`, sent over a socket to a hub of its own: commits,
LFS batches and objects, xorbs, shards and pushes. Every answer has to be one of 2xx or 4xx. In the
end the hub takes a sound commit, and its rows and objects agree.
"""

import argparse
import collections
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.accounts.users import create_user
from app.clock import SystemClock
from app.db import schema
from app.gc.fsck import fsck
from app.hub import Hub
from app.settings import Jobs, Rates, Settings
from app.xet.hashing import format_digest
from bench.fuzz_parsers import damaged
from bench.fuzz_seals import DIGEST_NBYTES
from bench.fuzz_targets import RAW, SHA256, TARGETS, Target
from bench.report import print_table
from tests.fixtures.api import running_server
from tests.fixtures.hub import open_test_hub

INPUTS = 10_000
TOKEN = "hf_fuzz"
LFS = {"Content-Type": "application/vnd.git-lfs+json", "Accept": "application/vnd.git-lfs+json"}

GIT = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request"}

Send = Callable[[httpx.Client, bytes], httpx.Response]


@dataclass(frozen=True)
class Door:
    """Where bodies of a target go."""

    name: str
    target: Target
    send: Send


def doors(xet: dict[str, str]) -> list[Door]:
    """All of them; ``xet``: the header that Xet's routes ask for."""
    by_name = {target.name: target for target in TARGETS}

    def xorb(client: httpx.Client, data: bytes) -> httpx.Response:
        digest = format_digest(data[:DIGEST_NBYTES].ljust(DIGEST_NBYTES, b"\0"))
        url = f"/cas/default/v1/xorbs/default/{digest}"
        return client.post(url, content=data[DIGEST_NBYTES:], headers=xet)

    def post(url: str, headers: dict[str, str]) -> Send:
        return lambda client, data: client.post(url, content=data, headers=headers)

    return [
        Door("commit", by_name["commit"], post("/api/models/fuzz/m/commit/main", {})),
        Door("LFS batch", by_name["lfs batch"], post("/fuzz/m.git/info/lfs/objects/batch", LFS)),
        Door("xorb", by_name["xorb"], xorb),
        Door("shard", by_name["shard"], post("/cas/default/v1/shards", xet)),
        Door("shard, events", by_name["shard"], post("/cas/default/v2/shards", xet)),
        Door("git push", by_name["git push"], post("/fuzz/m.git/git-receive-pack", {})),
        Door("git fetch", by_name["git fetch"], post("/fuzz/m.git/git-upload-pack", GIT)),
    ]


@contextmanager
def fuzzed_hub(directory: Path) -> Iterator[tuple[Hub, httpx.Client]]:
    """A hub with a repository, served, without limits of rate."""
    schema.upgrade(f"sqlite:///{directory}/hub.sqlite")
    settings = Settings(data=directory, rates=Rates(api=0, resolvers=0), jobs=Jobs(threads=0))
    hub = open_test_hub(settings)
    hub.clock = SystemClock()
    create_user(hub, "fuzz", token=TOKEN)
    try:
        with (
            running_server(hub) as url,
            httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=60,
                trust_env=False,
            ) as client,
        ):
            client.post("/api/repos/create", json={"name": "m"}).raise_for_status()
            _send_raw(client)
            yield hub, client
    finally:
        hub.close()


def _send_raw(client: httpx.Client) -> None:
    """The bytes that commits name by their SHA-256."""
    question = {
        "operation": "upload",
        "transfers": ["basic"],
        "objects": [{"oid": SHA256, "size": len(RAW)}],
    }
    answer = client.post("/fuzz/m.git/info/lfs/objects/batch", json=question, headers=LFS)
    upload = answer.raise_for_status().json()["objects"][0]["actions"]["upload"]
    client.put(upload["href"], content=RAW, headers=upload.get("header")).raise_for_status()


def run(client: httpx.Client, seed: int, inputs: int) -> dict[str, collections.Counter[int]]:
    """Send so many bodies to each door; statuses by door. SystemExit at an answer that is wrong."""
    token = client.get("/api/models/fuzz/m/xet-write-token/main").json()["accessToken"]
    outcomes: dict[str, collections.Counter[int]] = {}
    for door in doors({"Authorization": f"Bearer {token}"}):
        outcomes[door.name] = collections.Counter()
        for number in range(inputs):
            data = damaged(random.Random(f"{seed}/{door.target.name}/{number}"), door.target)
            answer = door.send(client, data)
            outcomes[door.name][answer.status_code] += 1
            if answer.status_code >= 500 or answer.status_code < 200:
                raise SystemExit(
                    f"FINDING at {door.name}, seed {seed}, input {number}: {answer.status_code} "
                    f"{answer.text[:500]}"
                )
    return outcomes


def check(hub: Hub, client: httpx.Client) -> None:
    """The hub works, and holds what it says. Raises SystemExit."""
    line = b'{"key":"header","value":{"summary":"s"}}\n'
    line += b'{"key":"file","value":{"path":"a.txt","content":"a","encoding":"utf-8"}}'
    answer = client.post("/api/models/fuzz/m/commit/main", content=line)
    if not answer.is_success:
        raise SystemExit(f"a sound commit is refused: {answer.status_code} {answer.text}")
    report = fsck(hub, deep=True)
    if not report.clean:
        raise SystemExit(f"the hub holds what it should not: {report.problems}")


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS, help="over all doors")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="clade-fuzz-") as directory,
        fuzzed_hub(Path(directory)) as (hub, client),
    ):
        outcomes = run(client, chosen.seed, -(-chosen.inputs // len(doors({}))))
        check(hub, client)
    rows = [
        [name, f"{sum(counts.values()):,}", ", ".join(f"{s}: {n:,}" for s, n in counts.items())]
        for name, counts in outcomes.items()
    ]
    print_table(
        "hostile requests", ["door", "inputs", "answers"], rows, "No 5xx; the hub is sound."
    )


if __name__ == "__main__":
    main()
