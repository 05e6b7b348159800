"""Backups of a hub that is written to, restored to either kind of database and store."""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.backup.making import make_backup
from app.backup.place import latest_manifest, manifests, open_place
from app.backup.restoring import restore_backup
from app.clock import SystemClock
from app.contents.checked import OPINIONS
from app.errors import Conflict, Damaged, NotFound
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.jobs.runner import drain
from app.settings import Settings
from app.store.contract import ObjectStore, StoreUnavailable
from app.tasks import HANDLERS
from tests.fixtures.models import ModelHub, base_weights, tuned
from tests.fixtures.s3_proxy import Rule, S3Proxy, wrong_byte
from tests.fixtures.services import S3Server
from tests.torture.budget import budget

SHAPES = {"embed.weight": (600, 64), "norm.weight": (64,)}

Restore = Callable[[ObjectStore], Hub]


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Where backups go."""
    if request.param == "directory":
        store = open_place(str(tmp_path / "backups"), Settings(data=tmp_path))
    else:
        server = request.getfixturevalue("s3_server")
        keys = Settings(
            data=tmp_path,
            s3_access_key=SecretStr(server.access_key),
            s3_secret_key=SecretStr(server.secret_key),
        )
        store = open_place(server.url(f"backups-{uuid.uuid4().hex[:12]}"), keys)
    yield store
    store.close()


@pytest.fixture
def restore(tmp_path: Path) -> Iterator[Restore]:
    """Restores into a new embedded hub."""
    with contextlib.ExitStack() as stack:

        def run(place: ObjectStore) -> Hub:
            settings = Settings(data=tmp_path / f"restored-{uuid.uuid4().hex[:8]}")
            hub, _ = restore_backup(settings, place)
            stack.callback(hub.close)
            return hub

        yield run


@pytest.fixture
def stocked(any_models: ModelHub) -> ModelHub:
    """A base and a fine-tune, encoded, and one that waits for the encoder."""
    any_models.hub.clock = SystemClock()
    base = base_weights(shapes=SHAPES)
    any_models.push("alice/base", base)
    any_models.run_jobs()
    any_models.push("bob/tune", tuned(base, 1))
    any_models.run_jobs()
    any_models.push("bob/raw", base_weights(5, SHAPES))
    return any_models


def assert_restored(models: ModelHub, hub: Hub) -> None:
    """Every byte comes back from a hub that passes the deep check, before its jobs and after."""
    restored = ModelHub(hub, pushed=models.pushed)
    restored.check(deep=True)
    drain(hub, HANDLERS)
    collect(hub, now=True)
    restored.check(deep=True)


def test_every_byte_comes_back(stocked: ModelHub, place: ObjectStore, restore: Restore) -> None:
    manifest = make_backup(stocked.hub, place)

    hub = restore(place)

    assert manifest.damaged == []
    assert latest_manifest(place) == manifest
    assert hub.store_epoch != stocked.hub.store_epoch
    assert hub.secret == stocked.hub.secret
    assert_restored(stocked, hub)


def test_next_backup_copies_only_what_is_new(
    models: ModelHub, tmp_path: Path, restore: Restore
) -> None:
    models.hub.clock = SystemClock()
    models.push("alice/a", base_weights(shapes=SHAPES))
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    make_backup(models.hub, place)
    before = {stat.key for stat in place.list("o/")}
    models.push("alice/b", base_weights(1, SHAPES))
    put_file, copied = place.put_file, []
    place.put_file = lambda key, path: (copied.append(key), put_file(key, path))[1]  # type: ignore[method-assign]

    make_backup(models.hub, place)

    new = [key for key in copied if key.startswith("o/")]
    assert new
    assert not before & set(new)
    assert_restored(models, restore(place))


def test_backup_under_writes_and_collections_is_consistent(
    any_models: ModelHub, tmp_path: Path, restore: Restore
) -> None:
    hub = any_models.hub
    hub.clock = SystemClock()
    base = base_weights(shapes=SHAPES)
    any_models.push("alice/base", base)
    any_models.run_jobs()
    place = open_place(str(tmp_path / "backups"), hub.settings)
    stop, faults = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set() and number < 30:
            number += 1
            try:
                any_models.push("alice/base", tuned(base, number))
                any_models.run_jobs()
                collect(hub, now=True)
            except Exception as error:  # noqa: BLE001
                faults.append(error)
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            manifest = make_backup(hub, place)
            assert manifest.damaged == []
            restored = restore(place)
            report = fsck(restored, deep=True)
            assert report.clean, report.problems
    finally:
        stop.set()
        writer.join()
    assert faults == []


def test_nothing_leaves_the_store_while_a_backup_runs(
    models: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restore: Restore
) -> None:
    models.push("alice/a", base_weights(shapes=SHAPES))
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    pushed = {repo: dict(files) for repo, files in models.pushed.items()}
    put_file = place.put_file

    def collecting(key: str, path: Path) -> int:
        if models.pushed:
            models.delete_repo("alice/a")
            assert collect(models.hub, now=True).objects_deleted == 0
        return put_file(key, path)

    monkeypatch.setattr(place, "put_file", collecting)
    make_backup(models.hub, place)

    assert collect(models.hub, now=True).objects_deleted > 0, "the hold is released"
    ModelHub(restore(place), pushed=pushed).check(deep=True)


def test_killed_backup_leaves_what_the_next_goes_on_from(
    models: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restore: Restore
) -> None:
    models.hub.clock = SystemClock()
    models.push("alice/a", base_weights(shapes=SHAPES))
    files = budget("BACKUP_DEATHS", short=3, long=20)
    for number in range(files):
        models.push("alice/b", {f"{number}.bin": bytes(range(number, 256)) * 100})
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    put_file, deaths = place.put_file, 0

    def dying(key: str, path: Path) -> int:
        """After one more object."""
        if list(place.list("o/"))[there:]:
            raise KeyboardInterrupt
        return put_file(key, path)

    monkeypatch.setattr(place, "put_file", dying)
    while not list(manifests(place)):
        there = len(list(place.list("o/")))
        with contextlib.suppress(KeyboardInterrupt):
            make_backup(models.hub, place)
            break
        deaths += 1
    assert deaths >= files
    monkeypatch.setattr(place, "put_file", put_file)
    make_backup(models.hub, place)
    assert_restored(models, restore(place))


def test_damaged_objects_are_left_out_and_named(models: ModelHub, tmp_path: Path) -> None:
    models.push("alice/a", base_weights(shapes=SHAPES))
    [stat] = [each for each in models.hub.store.list() if each.nbytes > 10_000]
    data = bytearray(models.hub.store.read(stat.key, 0, stat.nbytes))
    data[2000] ^= 1
    models.hub.store.delete(stat.key)
    models.hub.store.put(stat.key, [bytes(data)])
    place = open_place(str(tmp_path / "backups"), models.hub.settings)

    assert make_backup(models.hub, place).damaged == [stat.key]
    assert place.stat(stat.key) is None


def test_hub_with_people_is_not_overwritten(models: ModelHub, tmp_path: Path) -> None:
    models.push("alice/a", {"x.txt": b"x"})
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    with pytest.raises(NotFound):
        restore_backup(Settings(data=tmp_path / "new"), place)
    make_backup(models.hub, place)
    with pytest.raises(Conflict, match="not empty"):
        restore_backup(models.hub.settings, place)


def test_damaged_dump_is_refused(models: ModelHub, tmp_path: Path) -> None:
    models.push("alice/a", {"x.txt": b"x"})
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    manifest = make_backup(models.hub, place)
    data = bytearray(place.read(manifest.dump_key, 0, manifest.dump_nbytes))
    data[len(data) // 2] ^= 1
    place.delete(manifest.dump_key)
    place.put(manifest.dump_key, [bytes(data)])
    with pytest.raises(Damaged):
        restore_backup(Settings(data=tmp_path / "new"), place)


def test_embedded_hub_moves_to_production(
    models: ModelHub, production_settings: Settings, tmp_path: Path
) -> None:
    models.hub.clock = SystemClock()
    models.push("alice/a", base_weights(shapes=SHAPES))
    models.run_jobs()
    place = open_place(str(tmp_path / "backups"), models.hub.settings)
    make_backup(models.hub, place)

    hub, _ = restore_backup(production_settings, place)

    with contextlib.closing(hub):
        moved = ModelHub(hub, pushed=dict(models.pushed))
        assert_restored(moved, hub)
        moved.push("carol/new", base_weights(3, SHAPES))
        moved.run_jobs()
        moved.check(deep=True)


@pytest.fixture
def far_place(tmp_path: Path, s3_proxy: S3Proxy, s3_server: S3Server) -> Iterator[ObjectStore]:
    """A bucket behind a wire that can be told to lie."""
    url = s3_server.url(f"backups-{uuid.uuid4().hex[:12]}")
    keys = Settings(
        data=tmp_path,
        s3_access_key=SecretStr(s3_server.access_key),
        s3_secret_key=SecretStr(s3_server.secret_key),
    )
    store = open_place(url.replace(s3_server.endpoint, s3_proxy.endpoint), keys)
    yield store
    store.close()


@pytest.mark.parametrize("part", ["/manifest", "/dump", "/o/"])
def test_wire_that_lies_once_while_restoring_is_not_believed(
    models: ModelHub, far_place: ObjectStore, s3_proxy: S3Proxy, restore: Restore, part: str
) -> None:
    models.push("alice/a", base_weights(shapes=SHAPES))
    make_backup(models.hub, far_place)
    s3_proxy.rules.append(Rule("GET", part, wrong_byte))

    hub = restore(far_place)

    assert s3_proxy.rules == []
    assert_restored(models, hub)


def test_wire_that_always_lies_while_restoring_makes_no_hub(
    models: ModelHub, far_place: ObjectStore, s3_proxy: S3Proxy, restore: Restore
) -> None:
    models.push("alice/a", base_weights(shapes=SHAPES))
    make_backup(models.hub, far_place)
    flips = [partial(flipped_at, at) for at in range(OPINIONS)]
    s3_proxy.rules += [Rule("GET", "/o/", flip) for flip in flips]
    with pytest.raises(StoreUnavailable):
        restore(far_place)
    assert_restored(models, restore(far_place))


@pytest.mark.parametrize("part", ["/dump", "/o/"])
def test_place_that_returns_other_bytes_holds_no_backup(
    models: ModelHub, far_place: ObjectStore, s3_proxy: S3Proxy, restore: Restore, part: str
) -> None:
    models.hub.clock = SystemClock()
    models.push("alice/a", base_weights(shapes=SHAPES))
    s3_proxy.rules += [Rule("GET", part, wrong_byte) for _ in range(OPINIONS)]
    with pytest.raises(StoreUnavailable):
        make_backup(models.hub, far_place)
    with pytest.raises(NotFound):
        latest_manifest(far_place)

    s3_proxy.rules += [Rule("GET", part, wrong_byte) for _ in range(OPINIONS - 1)]
    make_backup(models.hub, far_place)

    assert s3_proxy.rules == []
    assert_restored(models, restore(far_place))


def flipped_at(at: int, answer: httpx.Response) -> tuple[int, bytes]:
    """Another lie for each place."""
    data = bytearray(answer.content)
    data[at] ^= 1
    return answer.status_code, bytes(data)
