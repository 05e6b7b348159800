"""A hub from a backup: objects first, then the database in one transaction, then everything proven.

Stopped at any point it leaves a hub without rows, and the same command goes on. The restored hub
writes under a new store epoch, so that nothing it does not know of, in a bucket that lived on, is
taken for garbage.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.backup.dump import Row, load_rows, read_dump
from app.backup.place import (
    Manifest,
    fetch_agreed,
    fetched_dump,
    latest_manifest,
    open_place,
    put_checked,
)
from app.db import Database, schema
from app.errors import Conflict
from app.hub import Hub, open_hub
from app.settings import Settings
from app.store.contract import ObjectStore

LEFT_OUT = frozenset({"hold", "bookmark", "finding", "former_encoding", "instance", "rejection"})
"""Tables of what was under way, of copies that no backup has, and of what is made anew."""

Progress = Callable[[int, int], None]


def restore_backup(
    settings: Settings, place: ObjectStore, progress: Progress = lambda _done, _total: None
) -> tuple[Hub, Manifest]:
    """Restore the newest backup of a place into an empty hub, which is returned open.

    Whatever database and store the backup was made on, it is restored to those of the settings.
    Raises Conflict for a hub that is not empty, NotFound where there is no backup, Damaged for one
    that is not what its manifest says.
    """
    manifest = latest_manifest(place)
    settings.data.mkdir(parents=True, exist_ok=True)
    url = settings.resolved_database_url
    _make_schema(url, manifest.revision)
    with fetched_dump(place, manifest) as dump:
        store = open_place(settings.resolved_store_url, settings)
        _copy_objects(place, store, dump, manifest, progress)
        store.close()
        with Database(url) as database:
            database.run(lambda session: _load(session, dump))
    return open_hub(settings), manifest


def _make_schema(url: str, revision: str) -> None:
    """The schema that the backup was made at, in a database without anybody."""
    with Database(url) as database:
        with database.engine.connect() as connection:
            names = inspect(connection).get_table_names()
            people = connection.scalar(text("SELECT count(*) FROM account")) if names else 0
        if people:
            raise Conflict("the hub is not empty: restore into another data directory or database")
        schema.upgrade(url, revision)
        with database.engine.connect() as connection:
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found != revision:
        raise Conflict(f"the database has schema {found}, the backup {revision}: empty it first")


def _copy_objects(
    place: ObjectStore, store: ObjectStore, dump: Path, manifest: Manifest, progress: Progress
) -> None:
    """Copy what the store lacks; what the backup lacks shows when the hub is checked."""
    left_out = set(manifest.damaged)
    scratch = dump.with_name("object")
    done = 0
    for table, row in read_dump(dump):
        if table != "object" or row["state"] != "live" or row["key"] in left_out:
            continue
        key, nbytes = row["key"], row["nbytes"]
        stat = store.stat(key)
        if stat is None or stat.nbytes != nbytes:
            if stat is not None:
                store.delete(key)
            fetch_agreed(place, key, nbytes, scratch)
            put_checked(store, key, scratch)
        done += nbytes
        progress(done, manifest.objects_nbytes)


def _load(session: Session, dump: Path) -> None:
    """All rows but those of what was under way; new epochs for the store and for Xet clients."""
    session.execute(text("DELETE FROM instance"))
    load_rows(session, read_dump(dump), _is_kept)
    facts = {row["name"]: row["value"] for table, row in read_dump(dump) if table == "instance"}
    facts["store_epoch"] = secrets.token_hex(4)
    facts["cas_epoch"] = str(int(facts.get("cas_epoch", "1")) + 1)
    insert = text("INSERT INTO instance (name, value) VALUES (:name, :value)")
    session.execute(insert, [{"name": name, "value": value} for name, value in facts.items()])


def _is_kept(table: str, row: Row) -> bool:
    return table not in LEFT_OUT and (table != "object" or row["state"] == "live")
