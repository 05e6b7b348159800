"""Who is dead and who is not, of real processes."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from training.service.holders import Holders

HUB = "http://hub"
HOLD = """
import subprocess, sys
from pathlib import Path
from training.service.holders import Holders
with Holders(Path(sys.argv[1]), sys.argv[2]).named() as name:
    child = subprocess.Popen(["sleep", "600"]) if "with a child" in sys.argv else None
    print(name, child.pid if child else 0, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(cache: Path, *more: str) -> Iterator[tuple[psutil.Process, str, int]]:
    """A process with a name, and a child's process id, if it has one."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(cache), HUB, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name, child = process.stdout.readline().split()
        try:
            yield psutil.Process(process.pid), name, int(child)
        finally:
            process.kill()


def test_who_was_killed_is_dead_and_who_sleeps_is_not(tmp_path: Path) -> None:
    holders = Holders(tmp_path, HUB)
    with holding(tmp_path) as (sleeper, _, _), holding(tmp_path) as (victim, name, _):
        assert len(name) <= 64
        sleeper.suspend()
        assert list(holders.dead()) == []
        victim.kill()
        victim.wait(60)
        assert list(holders.dead()) == [name]
        assert list(holders.dead()) == [name]
        holders.forget(name)
        holders.forget(name)
        assert list(holders.dead()) == []
        sleeper.resume()


def test_who_left_children_behind_is_dead(tmp_path: Path) -> None:
    with holding(tmp_path, "with a child") as (victim, name, child):
        victim.kill()
        victim.wait(60)
        try:
            assert list(Holders(tmp_path, HUB).dead()) == [name]
        finally:
            psutil.Process(child).kill()


def test_a_name_is_judged_while_it_is_given(tmp_path: Path) -> None:
    holders = Holders(tmp_path, HUB)
    with holders.named() as first, holders.named() as second:
        assert first != second
        assert list(holders.dead()) == []
    assert set(holders.dead()) == {first, second}


def test_where_nothing_can_be_locked_nobody_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    holders = Holders(tmp_path, HUB)
    with holders.named() as name:
        assert name
    assert list(holders.dead()) == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("other", ["hub", "machine"])
def test_nobody_judges_other_machines_nor_for_other_hubs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    with Holders(tmp_path, HUB).named():
        pass
    if other == "machine":
        monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert list(Holders(tmp_path, HUB if other == "machine" else "http://other").dead()) == []
