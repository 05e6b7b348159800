"""Make a backup of a hub that runs: hold the collector, look at the database, copy what it names.

Keys are never reused and objects never change, so an object that the place has already is the same:
only new ones are copied, each held against its checks on the way. The database is looked at first;
objects first would miss what it names.
"""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, delete, text
from sqlalchemy.orm import Session

from app.backup.dump import write_dump
from app.backup.place import MOMENT, PREFIX, Manifest, busy, put_checked
from app.contents.inspecting import confirmed, refuted, windows
from app.db.inserting import upsert
from app.db.tables import Hold
from app.gc.soundness import Inspected, claims_on
from app.hub import Hub
from app.store.contract import ObjectMissing, ObjectStore, StoreUnavailable

HOLD_S = 24 * 3600.0
"""A backup that died holds the collector no longer than this."""

RENEWED_EVERY = 200
"""Objects copied between two renewals of the hold."""

Progress = Callable[[int, int], None]


def make_backup(
    hub: Hub, place: ObjectStore, progress: Progress = lambda _done, _total: None
) -> Manifest:
    """Back the hub up into ``place``; what is there already is not copied again.

    Killed at any point, it leaves what the next one goes on from. Damaged objects are left out and
    named. ``progress(done, total)`` is told bytes. Raises StoreUnavailable, and Conflict while the
    place is being pruned.
    """
    with busy(place, "backup", hub.clock.now()):
        return _make(hub, place, progress)


def _make(hub: Hub, place: ObjectStore, progress: Progress) -> Manifest:
    owner = f"backup:{uuid.uuid4()}"
    hub.db.run(lambda session: _hold(session, hub, owner))
    try:
        with tempfile.TemporaryDirectory(prefix="clade-backup-") as name:
            directory = Path(name)
            moment = hub.clock.now().strftime(MOMENT)
            dump, listed = directory / "dump", directory / "objects"
            with hub.db.snapshot() as connection, listed.open("w") as file:
                count, nbytes = _list_objects(connection, file)
                revision = write_dump(connection, dump)
            damaged = _copy_all(hub, place, owner, listed, nbytes, directory, progress)
            dump_nbytes = dump.stat().st_size  # the store may take the file itself
            dump_blake3 = put_checked(place, f"{PREFIX}{moment}/dump", dump)
            manifest = Manifest(
                moment=moment,
                revision=revision,
                dump_nbytes=dump_nbytes,
                dump_blake3=dump_blake3,
                objects=count,
                objects_nbytes=nbytes,
                damaged=damaged,
            )
            manifest.write(place)
        return manifest
    finally:
        hub.db.run(lambda session: session.execute(delete(Hold).where(Hold.owner == owner)))


def _hold(session: Session, hub: Hub, owner: str) -> None:
    expires_at = hub.clock.now() + timedelta(seconds=HOLD_S)
    row = upsert(session, Hold).values(owner=owner, expires_at=expires_at)
    session.execute(
        row.on_conflict_do_update(index_elements=[Hold.owner], set_={"expires_at": expires_at})
    )


def _list_objects(connection: Connection, file: IO[str]) -> tuple[int, int]:
    """Write the live objects by key; how many and how large they are."""
    count = total = 0
    query = text("SELECT id, key, nbytes FROM object WHERE state = 'live' ORDER BY key")
    for row in connection.execution_options(yield_per=1000).execute(query):
        file.write(json.dumps(list(row)) + "\n")
        count += 1
        total += row.nbytes
    return count, total


def _copy_all(
    hub: Hub,
    place: ObjectStore,
    owner: str,
    listed: Path,
    total: int,
    directory: Path,
    progress: Progress,
) -> list[str]:
    """Copy what the place lacks; keys of what is damaged."""
    there = (stat for prefix in ("o/", "s/") for stat in place.list(prefix))
    had = next(there, None)
    damaged: list[str] = []
    done = copied = 0
    for row in _rows(listed):
        while had is not None and had.key < row.key:
            had = next(there, None)
        if had is None or (had.key, had.nbytes) != (row.key, row.nbytes):
            if not _copy(hub, place, row, directory / "object"):
                damaged.append(row.key)
            copied += 1
            if copied % RENEWED_EVERY == 0:
                hub.db.run(lambda session: _hold(session, hub, owner))
        done += row.nbytes
        progress(done, total)
    return damaged


def _rows(listed: Path) -> Iterator[Inspected]:
    with listed.open() as file:
        yield from (Inspected(*json.loads(line)) for line in file)


def _copy(hub: Hub, place: ObjectStore, row: Inspected, path: Path) -> bool:
    """Copy one object unless it is damaged. Raises StoreUnavailable of the place."""
    try:
        with path.open("wb") as file:
            failed = refuted(_teed(windows(hub, row.key, row.nbytes), file), claims_on(hub, row))
        if confirmed(hub, row.key, failed):
            return False
    except (ObjectMissing, StoreUnavailable):
        return False
    if failed:
        return _copy(hub, place, row, path)  # the wire erred once
    put_checked(place, row.key, path)
    return True


def _teed(buffers: Iterator[memoryview], file: IO[bytes]) -> Iterator[memoryview]:
    for buffer in buffers:
        file.write(buffer)
        yield buffer
