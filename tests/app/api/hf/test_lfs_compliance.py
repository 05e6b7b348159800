"""The cases of git-lfs's own check of servers (its lfs-test-server-api), after their description.

A repo holds some objects and lacks others; batches for upload and download name all of the one, all
of the other, a mixture, and what is no object at all. Links are followed, as a client would.
"""

import hashlib
import json
import random
from dataclasses import dataclass

import httpx
import pytest

from tests.fixtures.api import LiveHub

MEDIA_TYPE = "application/vnd.git-lfs+json"
LFS = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
COUNT = 10
EDGES = {
    "too short": ("0" * 63, 1, 422),
    "too long": ("0" * 65, 1, 422),
    "no hex": ("z" * 64, 1, 422),
    "empty": ("", 1, 422),
    "with its algorithm": (f"sha256:{'0' * 64}", 1, 422),
    "negative": ("0" * 64, -1, 422),
}


@dataclass
class Remote:
    """A repo that holds some objects, as a git-lfs client reaches it."""

    client: httpx.Client
    present: list[bytes]
    missing: list[bytes]

    def batch(self, operation: str, objects: list[tuple[str, int]]) -> list[dict]:
        asked = [{"oid": oid, "size": size} for oid, size in objects]
        body = {"operation": operation, "transfers": ["basic"], "objects": asked}
        answer = self.client.post("/alice/model.git/info/lfs/objects/batch", json=body, headers=LFS)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith(MEDIA_TYPE)
        told = answer.json()
        assert told.get("transfer", "basic") == "basic"
        assert [(each["oid"], each["size"]) for each in told["objects"]] == objects
        return told["objects"]

    def send(self, told: dict, data: bytes) -> None:
        upload, verify = told["actions"]["upload"], told["actions"]["verify"]
        self.client.put(upload["href"], content=data, headers=upload["header"]).raise_for_status()
        what = {"oid": told["oid"], "size": told["size"]}
        self.client.post(verify["href"], json=what, headers=LFS).raise_for_status()


def named(*objects: bytes) -> list[tuple[str, int]]:
    return [(hashlib.sha256(data).hexdigest(), len(data)) for data in objects]


@pytest.fixture
def remote(live_hub: LiveHub, live_repo: str) -> Remote:
    chance = random.Random(0)
    objects = [chance.randbytes(chance.randrange(1, 200_000)) for _ in range(2 * COUNT)]
    found = Remote(live_hub.http(), objects[:COUNT], objects[COUNT:])
    for told, data in zip(found.batch("upload", named(*found.present)), found.present, strict=True):
        found.send(told, data)
    lines = [{"key": "header", "value": {"summary": "objects"}}]
    lines += [
        {"key": "lfsFile", "value": {"path": f"{oid[:8]}.bin", "algo": "sha256", "oid": oid}}
        for oid, _ in named(*found.present)
    ]
    body = "\n".join(map(json.dumps, lines))
    commit = found.client.post(f"/api/models/{live_repo}/commit/main", content=body)
    commit.raise_for_status()
    return found


def mixed(remote: Remote) -> list[tuple[bytes, bool]]:
    """Objects in an order by chance, and whether they are present."""
    both = [(data, True) for data in remote.present] + [(data, False) for data in remote.missing]
    random.Random(1).shuffle(both)
    return both


@pytest.mark.parametrize("which", ["present", "missing", "mixed"])
def test_downloads(remote: Remote, which: str):
    both = [pair for pair in mixed(remote) if which == "mixed" or pair[1] == (which == "present")]
    told = remote.batch("download", named(*(data for data, _ in both)))
    for each, (data, is_present) in zip(told, both, strict=True):
        if not is_present:
            assert each["error"]["code"] == 404
            assert "actions" not in each
            continue
        assert "error" not in each
        assert remote.client.get(each["actions"]["download"]["href"]).content == data


@pytest.mark.parametrize("which", ["present", "missing", "mixed"])
def test_uploads(remote: Remote, which: str):
    both = [pair for pair in mixed(remote) if which == "mixed" or pair[1] == (which == "present")]
    told = remote.batch("upload", named(*(data for data, _ in both)))
    for each, (data, is_present) in zip(told, both, strict=True):
        assert "error" not in each
        assert ("actions" not in each) == is_present
        if not is_present:
            remote.send(each, data)
    again = remote.batch("upload", named(*(data for data, _ in both)))
    assert not any("actions" in each for each in again)


@pytest.mark.parametrize("operation", ["upload", "download"])
def test_edges(remote: Remote, operation: str):
    sound = named(remote.present[0])
    told = remote.batch(operation, [*sound, *((oid, size) for oid, size, _ in EDGES.values())])
    assert "error" not in told[0]
    for name, each in zip(EDGES, told[1:], strict=True):
        assert each["error"]["code"] == EDGES[name][2], name
        assert each["error"]["message"]
        assert "actions" not in each


@pytest.mark.parametrize("operation", ["upload", "download"])
def test_a_batch_of_nothing_is_answered_with_nothing(remote: Remote, operation: str):
    assert remote.batch(operation, []) == []
