"""Pruning drops what no kept backup names, whatever dies in the middle; and backups that die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.backup.making import make_backup
from app.backup.place import BUSY, latest_manifest, manifests, open_place
from app.backup.pruning import prune_place
from app.backup.restoring import restore_backup
from app.clock import ManualClock, SystemClock
from app.errors import Conflict, Damaged, InvalidRequest, NotFound
from app.gc.collect import collect
from app.settings import Settings
from app.store.contract import ObjectStore
from app.store.wrapper import StoreWrapper
from tests.fixtures.command import Clade
from tests.fixtures.models import ModelHub, base_weights

pytestmark = pytest.mark.long

SHAPES = {"embed.weight": (300, 64)}
DAY_S = 24 * 3600.0


@pytest.fixture
def place(models: ModelHub, tmp_path: Path) -> ObjectStore:
    """Where backups go."""
    return open_place(str(tmp_path / "backups"), models.hub.settings)


def clock_of(models: ModelHub) -> ManualClock:
    clock = models.hub.clock
    assert isinstance(clock, ManualClock)
    return clock


def three_backups(models: ModelHub, place: ObjectStore) -> None:
    """Each with a model that the one before had not; the first model is gone in the last."""
    for n in range(3):
        models.push(f"alice/m{n}", base_weights(n, SHAPES))
        models.run_jobs()
        if n == 2:
            models.delete_repo("alice/m0")
            collect(models.hub, now=True)
            models.run_jobs()
        collect(models.hub, now=True)
        make_backup(models.hub, place)
        clock_of(models).advance(3600)


def assert_restores(models: ModelHub, place: ObjectStore, data: Path) -> None:
    hub, _ = restore_backup(Settings(data=data), place)
    try:
        ModelHub(hub, pushed=models.pushed).check()
    finally:
        hub.close()


def test_what_only_dropped_backups_name_goes(models: ModelHub, place: ObjectStore, tmp_path: Path):
    three_backups(models, place)
    newest = latest_manifest(place)
    before = {stat.key for stat in place.list("o/")}
    pruned = prune_place(models.hub, place, keep=1)
    after = {stat.key for stat in place.list("o/")}
    assert list(manifests(place)) == [newest]
    assert (pruned.kept, pruned.backups, pruned.objects) == (1, 2, len(before - after))
    assert before - after
    assert after == {stat.key for stat in models.hub.store.list()}
    assert list(place.list(BUSY)) == []
    assert prune_place(models.hub, place, keep=1).objects == 0
    assert_restores(models, place, tmp_path / "restored")


def test_a_pruning_that_dies_anywhere_leaves_the_kept_whole(
    models: ModelHub, place: ObjectStore, tmp_path: Path
):
    three_backups(models, place)
    newest = latest_manifest(place)

    class Dying(StoreWrapper):
        left = 0

        def delete(self, key: str) -> None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.inner.delete(key)

    dying = Dying(place)
    for deletions in (0, 1, 2, 2):
        dying.left = deletions
        with pytest.raises(KeyboardInterrupt):
            prune_place(models.hub, dying, keep=1)
        assert latest_manifest(place) == newest
        with pytest.raises(Conflict, match="pruned"):
            make_backup(models.hub, place)
        clock_of(models).advance(DAY_S + 1)
    prune_place(models.hub, place, keep=1)
    assert {s.key for s in place.list("o/")} == {s.key for s in models.hub.store.list()}
    assert_restores(models, place, tmp_path / "restored")


def test_pruning_and_backups_keep_out_of_each_others_way(models: ModelHub, place: ObjectStore):
    three_backups(models, place)

    class Meanwhile(StoreWrapper):
        def put_file(self, key: str, path: Path) -> int:
            with pytest.raises(Conflict, match="backed up"):
                prune_place(models.hub, place, keep=1)
            return self.inner.put_file(key, path)

    make_backup(models.hub, Meanwhile(place))
    assert len(list(manifests(place))) == 4


@pytest.mark.parametrize("damaged", [b"not a dump", None])
def test_nothing_is_dropped_where_a_kept_backup_cannot_be_read(
    models: ModelHub, place: ObjectStore, damaged: bytes | None
):
    with pytest.raises(NotFound):
        prune_place(models.hub, place, keep=1)
    three_backups(models, place)
    key = list(manifests(place))[1].dump_key
    place.delete(key)
    if damaged is not None:
        place.put(key, [damaged])
    before = [stat.key for stat in place.list()]
    with pytest.raises(Damaged):
        prune_place(models.hub, place, keep=2)
    assert [stat.key for stat in place.list()] == before


def test_the_hubs_own_store_is_not_pruned(models: ModelHub):
    models.push("alice/m", base_weights(1, SHAPES))
    own = open_place(models.hub.settings.resolved_store_url, models.hub.settings)
    make_backup(models.hub, own)
    models.push("alice/n", base_weights(2, SHAPES))
    with pytest.raises(InvalidRequest):
        prune_place(models.hub, own, keep=1)
    for name in ("alice/m", "alice/n"):
        assert models.read(name, "model.safetensors") == models.pushed[name]["model.safetensors"]


def test_command_keeps_as_many_as_it_is_told(clade: Clade, pushed: Path, tmp_path: Path):
    where = (tmp_path / "backups", "--data", pushed, "--json")
    for _ in range(3):
        assert clade("backup", *where).status == 0
    facts = clade("backup", *where, "--prune", "--keep", 2).facts
    assert facts["pruned"]["kept"] == 2
    assert facts["pruned"]["backups"] == 2


RUN = "from app.cli import main; main()"


@pytest.mark.parametrize("objects", [1, 12, 24])
def test_a_backup_killed_in_the_middle_is_complete_or_none(
    models: ModelHub, tmp_path: Path, objects: int
):
    models.hub.clock = SystemClock()
    for n in range(24):
        models.push("alice/m", {f"{n}.bin": base_weights(n, SHAPES)["embed.weight"].tobytes()})
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    data = str(models.hub.settings.data)
    command = [sys.executable, "-c", RUN, "backup", str(tmp_path / "backups"), "--data", data]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and sum(1 for _ in place.list("o/")) < objects:
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    whole = list(manifests(place))
    if whole:
        assert_restores(models, place, tmp_path / "restored-first")
    else:
        with pytest.raises(NotFound):
            restore_backup(Settings(data=tmp_path / "none"), place)
    make_backup(models.hub, place)
    assert len(list(manifests(place))) == len(whole) + 1
    assert_restores(models, place, tmp_path / "restored")
