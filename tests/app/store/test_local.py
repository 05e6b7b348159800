"""The directory store keeps the contract, also when killed in the middle of a put."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.store import local
from app.store.contract import ObjectStore, StoreFull, StoreUnavailable
from app.store.keys import object_key
from app.store.local import TEMPORARY, LocalStore
from tests.app.store.contract import StoreContract

WRITER = """
import sys, time
from pathlib import Path
from app.store.local import LocalStore

def chunks():
    yield b"x" * 100_000
    print("writing", flush=True)
    time.sleep(600)

LocalStore(Path(sys.argv[1])).put("o/e1/aa/killed", chunks())
"""


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        self.root = tmp_path / "objects"
        return LocalStore(self.root)

    def left_behind(self) -> list[str]:
        return os.listdir(self.root / TEMPORARY)

    def test_objects_are_plain_files(self, store: ObjectStore):
        store.put("o/e1/ab/name", [b"bytes"])
        assert (self.root / "o/e1/ab/name").read_bytes() == b"bytes"

    def test_put_file_moves_within_a_file_system(self, store: ObjectStore, tmp_path: Path):
        path = tmp_path / "file"
        path.write_bytes(b"moved")
        inode = path.stat().st_ino
        store.put_file("o/e1/ab/name", path)
        assert not path.exists()
        assert (self.root / "o/e1/ab/name").stat().st_ino == inode

    def test_put_file_copies_across_file_systems(self, store: ObjectStore, tmp_path: Path):
        elsewhere = Path("/dev/shm")
        if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one file system only")
        path = elsewhere / f"clade-test-{os.getpid()}"
        path.write_bytes(b"copied")
        assert store.put_file("o/e1/ab/name", path) == 6
        assert not path.exists()
        assert store.read("o/e1/ab/name", 0, 6) == b"copied"

    def test_directory_that_another_writer_just_made_is_durable_before_it_is_used(
        self, store: LocalStore, monkeypatch
    ):
        """Otherwise a power cut could take the directory, and an acknowledged object with it."""
        synced: list[Path] = []
        fsync = local._fsync_directory

        def note(directory: Path) -> None:
            synced.append(directory)
            fsync(directory)

        (self.root / "o/e1/ab").mkdir(parents=True)  # made, and not yet synced by its maker
        monkeypatch.setattr(local, "_fsync_directory", note)
        store.put("o/e1/ab/name", [b"bytes"])
        above = [self.root, self.root / "o", self.root / "o/e1", self.root / "o/e1/ab"]
        assert synced == above
        synced.clear()
        store.put("o/e1/ab/other", [b"bytes"])
        assert synced == above[-1:]


def start_writer(root: Path) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def test_killed_put_leaves_nothing(tmp_path: Path):
    root = tmp_path / "objects"
    with start_writer(root) as writer:
        store = LocalStore(root)
        assert len(os.listdir(root / TEMPORARY)) == 1, "a living writer's file must stay"
        assert list(store.list()) == []
        writer.send_signal(signal.SIGKILL)
    assert list(store.list()) == []
    assert len(os.listdir(root / TEMPORARY)) == 1
    store = LocalStore(root)
    assert os.listdir(root / TEMPORARY) == []
    store.put("o/e1/aa/killed", [b"again"])
    assert store.read("o/e1/aa/killed", 0, 5) == b"again"


def test_put_is_durable_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Order of system calls: file synced, parents made and synced, renamed, directory synced."""
    calls: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def name_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(f"{store_root}/")

    def traced_fsync(descriptor: int) -> None:
        calls.append(("fsync", name_of(descriptor)))
        fsync(descriptor)

    def traced_rename(source: Path, target: Path) -> Path:
        calls.append(("rename", str(target.relative_to(store_root))))
        return rename(source, target)

    store_root = tmp_path / "objects"
    store = LocalStore(store_root)
    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "rename", traced_rename)
    store.put("o/e1/name", [b"bytes"])
    assert calls[0][0] == "fsync"
    assert calls[0][1].startswith(TEMPORARY)
    assert calls[1:] == [
        ("fsync", str(store_root)),
        ("fsync", "o"),
        ("rename", "o/e1/name"),
        ("fsync", "o/e1"),
    ]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_failing_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[Exception]
):
    store = LocalStore(tmp_path / "objects")

    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            store.put(object_key("e1"), [b"bytes"])
    assert list(store.list()) == []
    assert os.listdir(tmp_path / "objects" / TEMPORARY) == []
