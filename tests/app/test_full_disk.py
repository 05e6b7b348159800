"""No room and no right to write: a clean error, nothing half-visible, and on it goes afterwards.

As root the disk is a real one: a tmpfs of a few MiB that is really full. Elsewhere, and for each
single write, the operating system's own call fails as it would then.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.clock import SystemClock
from app.gc.fsck import fsck
from app.hub import Hub
from app.settings import Settings
from app.store import local
from app.store.contract import StoreRefused
from tests.fixtures.api import ALICE_TOKEN, LiveHub, add, running_server
from tests.fixtures.disks import small_disk
from tests.fixtures.hub import open_test_hub
from tests.fixtures.lanes import create_user

MIB = 1 << 20


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[LiveHub]:
    hub = open_test_hub(settings)
    hub.clock = SystemClock()
    create_user(hub, "alice", token=ALICE_TOKEN)
    with running_server(hub) as url:
        live = LiveHub(hub, url, settings.data)
        live.api().create_repo("alice/m")
        yield live
        for client in live.clients:
            client.close()
    hub.close()


def upload(live: LiveHub, name: str, data: bytes) -> httpx.Response:
    """By git-lfs's lane: the answer to the bytes, or to the commit after them."""
    oid, http = hashlib.sha256(data).hexdigest(), live.http()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
    asked = http.post("/alice/m.git/info/lfs/objects/batch", json=batch)
    if asked.status_code != 200:
        return asked
    sent = http.put(asked.json()["objects"][0]["actions"]["upload"]["href"], content=data)
    if sent.status_code != 200:
        return sent
    lines = (
        {"key": "header", "value": {"summary": name}},
        {"key": "lfsFile", "value": {"path": name, "algo": "sha256", "oid": oid}},
    )
    return http.post("/api/models/alice/m/commit/main", content="\n".join(map(json.dumps, lines)))


def files(live: LiveHub) -> set[str]:
    return set(live.api().list_repo_files("alice/m")) - {".gitattributes"}


def assert_sound(hub: Hub) -> None:
    report = fsck(hub, deep=True)
    assert report.clean, report.problems


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_disk_that_is_really_full(embedded_settings: Settings, tmp_path: Path):
    with small_disk(tmp_path / "disk", 12 * MIB) as disk:
        shutil.copytree(embedded_settings.data, disk / "data")
        with served(Settings(data=disk / "data")) as live:  # pyright: ignore[reportCallIssue]
            assert upload(live, "fits.bin", os.urandom(2 * MIB)).status_code == 200
            refused = upload(live, "big.bin", os.urandom(9 * MIB))
            assert refused.status_code == 507, refused.text
            assert refused.headers["X-Error-Code"] == "StorageFull"
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            statuses = {
                upload(live, f"{n}.bin", os.urandom(64 << 10)).status_code for n in range(3)
            }
            assert statuses <= {503, 507}
            small = live.http().post("/api/repos/create", json={"name": "other"})
            assert small.status_code in {200, 503, 507}
            assert files(live) == {"fits.bin"}
            assert live.http().get("/alice/m/resolve/main/fits.bin").status_code == 200
            filler.unlink()
            assert upload(live, "after.bin", os.urandom(MIB)).status_code == 200
            assert files(live) == {"fits.bin", "after.bin"}
            assert_sound(live.hub)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("write", errno.ENOSPC),
        ("fsync", errno.EDQUOT),
        ("open", errno.ENOSPC),
        ("open", errno.EROFS),
        ("write", errno.EIO),
    ],
)
def test_every_call_of_a_put_may_fail(
    embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch, call: str, fault: int
):
    real, failing = getattr(os, call), [False]

    def fail(*args, **kwargs):
        is_store = call != "open" or ".incoming" in str(args[0])
        if failing[0] and is_store:
            raise OSError(fault, os.strerror(fault))
        return real(*args, **kwargs)

    with served(embedded_settings) as live:
        monkeypatch.setattr(local.os, call, fail)
        failing[0] = True
        refused = upload(live, "a.bin", b"a" * 100_000)
        assert refused.status_code == (507 if fault in {errno.ENOSPC, errno.EDQUOT} else 503)
        inline = live.http().post(
            "/api/models/alice/m/commit/main",
            content=b'{"key":"header","value":{"summary":"s"}}\n'
            b'{"key":"file","value":{"path":"a.txt","content":"YQ=="}}\n',
        )
        assert inline.status_code in {503, 507}
        failing[0] = False
        assert files(live) == set()
        live.api().create_commit("alice/m", [add("a.txt", b"a")], commit_message="again")
        assert files(live) == {"a.txt"}
        assert_sound(live.hub)


def test_a_bucket_that_denies_access(embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch):
    def deny(*_: object) -> int:
        raise StoreRefused("the store refuses access: AccessDenied")

    with served(embedded_settings) as live:
        with monkeypatch.context() as patched:
            patched.setattr(live.hub.store, "put", deny)
            refused = upload(live, "a.bin", b"a" * 100_000)
            assert refused.status_code == 503
            assert "refuses access" in refused.json()["error"]
            assert live.http().get("/alice/m/resolve/main/.gitattributes").status_code == 200
        assert files(live) == set()
        assert upload(live, "a.bin", b"a" * 100_000).status_code == 200
        assert_sound(live.hub)
