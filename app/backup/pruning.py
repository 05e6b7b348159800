"""Drop old backups of a place, and the objects that no backup kept names.

Manifests go first: a backup that is being dropped is none from then on, so a stop at any point
leaves the kept ones whole and the rest to the next pruning.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from app.backup.dump import read_dump
from app.backup.place import PREFIX, Manifest, busy, fetched_dump, manifests
from app.errors import InvalidRequest, NotFound
from app.hub import Hub
from app.store.contract import ObjectStore


@dataclass(slots=True)
class Pruned:
    """What was dropped, and how many backups are left."""

    kept: int
    backups: int = 0
    """Whole ones, and what was left of those that died."""
    objects: int = 0
    nbytes: int = 0


def prune_place(hub: Hub, place: ObjectStore, *, keep: int) -> Pruned:
    """Keep the newest backups. Raises NotFound if there is none, Conflict while one is being made.

    Every kept database is read first: Damaged, before anything was dropped, if one cannot be.
    InvalidRequest if the place is the hub's own store.
    """
    with busy(place, "prune", hub.clock.now()) as mark, _Names() as names:
        if hub.store.stat(mark) is not None:
            raise InvalidRequest("that is the hub's own store, which is not pruned: name another")
        kept = [manifest for _, manifest in zip(range(keep), manifests(place), strict=False)]
        if not kept:
            raise NotFound("there is no backup in that place")
        for manifest in kept:
            names.add(_objects_of(place, manifest))
        pruned = Pruned(len(kept))
        _drop_backups(place, {manifest.moment for manifest in kept}, pruned)
        for prefix in ("o/", "s/"):
            for stat in place.list(prefix):
                if stat.key not in names:
                    place.delete(stat.key)
                    pruned.objects += 1
                    pruned.nbytes += stat.nbytes
    return pruned


def _objects_of(place: ObjectStore, manifest: Manifest) -> Iterator[str]:
    with fetched_dump(place, manifest) as dump:
        for table, row in read_dump(dump):
            if table == "object" and row["state"] == "live":
                yield row["key"]


def _drop_backups(place: ObjectStore, kept: set[str], pruned: Pruned) -> None:
    keys = [stat.key for stat in place.list(PREFIX)]
    moments = {key.removeprefix(PREFIX).partition("/")[0] for key in keys} - kept
    for part in ("manifest", "dump"):
        for moment in sorted(moments):
            if f"{PREFIX}{moment}/{part}" in keys:
                place.delete(f"{PREFIX}{moment}/{part}")
    pruned.backups = len(moments)


class _Names:
    """Keys of kept objects, on disk: there may be more than fit into memory."""

    def __init__(self) -> None:
        self._names = sqlite3.connect("")
        self._names.execute("CREATE TABLE name (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._names.close()

    def add(self, keys: Iterator[str]) -> None:
        """Take these in."""
        self._names.executemany("INSERT OR IGNORE INTO name VALUES (?)", ((key,) for key in keys))

    def __contains__(self, key: str) -> bool:
        return (
            self._names.execute("SELECT 1 FROM name WHERE key = ?", (key,)).fetchone() is not None
        )
