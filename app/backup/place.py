"""Where backups lie: a directory or a bucket, objects under their own keys, one manifest each.

o/…                      objects, shared by all backups in the place
backup/<moment>/dump     the database
backup/<moment>/manifest what belongs together; written last, so it is there only for a whole one
busy/<kind>/<moment>     somebody is making a backup, or pruning
"""

import json
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from blake3 import blake3
from pydantic import SecretStr

from app.contents.checked import OPINIONS
from app.contents.inspecting import WINDOW_NBYTES
from app.errors import Conflict, Damaged, InvalidRequest, NotFound
from app.settings import Settings
from app.store.contract import ObjectStore, StoreUnavailable
from app.store.factory import open_store

PREFIX = "backup/"
BUSY = "busy/"
MOMENT = "%Y%m%dT%H%M%S.%fZ"

STALE_S = 24 * 3600.0
"""After this a mark of somebody busy no longer counts."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup."""

    moment: str
    """When the database was looked at, UTC: names the backup."""
    revision: str
    """Of the schema."""
    dump_nbytes: int
    dump_blake3: str
    objects: int
    objects_nbytes: int
    damaged: list[str]
    """Keys of objects that could not be read, or not as they should be: not in the backup."""

    @property
    def dump_key(self) -> str:
        """Where the database lies."""
        return f"{PREFIX}{self.moment}/dump"

    def write(self, store: ObjectStore) -> None:
        """Declare the backup whole."""
        data = json.dumps(asdict(self), indent=1).encode()
        store.put(f"{PREFIX}{self.moment}/manifest", [data])


def open_place(where: str, settings: Settings) -> ObjectStore:
    """The store at a directory or ``s3://`` URL; the hub's own S3 keys open it."""
    url = where if "://" in where else Path(where).absolute().as_uri()
    try:
        return open_store(
            url, access_key=_text(settings.s3_access_key), secret_key=_text(settings.s3_secret_key)
        )
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def latest_manifest(store: ObjectStore) -> Manifest:
    """The newest whole backup. Raises NotFound if there is none."""
    for manifest in manifests(store):
        return manifest
    raise NotFound("there is no backup in that place")


def manifests(store: ObjectStore) -> Iterator[Manifest]:
    """Whole backups, the newest first. Raises StoreUnavailable."""
    found = [stat for stat in store.list(PREFIX) if stat.key.endswith("/manifest")]
    with tempfile.TemporaryDirectory(prefix="clade-manifest-") as name:
        path = Path(name) / "manifest"
        for stat in reversed(found):
            fetch_agreed(store, stat.key, stat.nbytes, path)
            yield Manifest(**json.loads(path.read_bytes()))


@contextmanager
def fetched_dump(store: ObjectStore, manifest: Manifest) -> Iterator[Path]:
    """The database of a backup as a file, until left. Raises Damaged, StoreUnavailable."""
    key, nbytes = manifest.dump_key, manifest.dump_nbytes
    stat = store.stat(key)
    with tempfile.TemporaryDirectory(prefix="clade-dump-") as name:
        path = Path(name) / "dump"
        for _ in range(OPINIONS if stat is not None and stat.nbytes == nbytes else 0):
            if _fetch(store, key, nbytes, path) == manifest.dump_blake3:
                break
        else:
            raise Damaged(f"the database of backup {manifest.moment} is damaged")
        yield path


def put_checked(store: ObjectStore, key: str, path: Path) -> str:
    """Store a file, and read it back; its BLAKE3.

    Raises StoreUnavailable, also if other bytes come back, which are then gone.
    """
    digest, nbytes = blake3().update_mmap(path).hexdigest(), path.stat().st_size
    store.put_file(key, path)
    for _ in range(OPINIONS):
        if _fetch(store, key, nbytes, None) == digest:
            return digest
    store.delete(key)
    raise StoreUnavailable(f"the store returns other bytes than it was given for {key}")


def fetch_agreed(store: ObjectStore, key: str, nbytes: int, path: Path) -> None:
    """Write an object to a file, as two readings one after the other have it.

    Raises ObjectMissing or StoreUnavailable.
    """
    last = None
    for _ in range(OPINIONS):
        digest = _fetch(store, key, nbytes, path)
        if digest == last:
            return
        last = digest
    raise StoreUnavailable(f"no two readings of {key} agree")


def _fetch(store: ObjectStore, key: str, nbytes: int, path: Path | None) -> str:
    """BLAKE3 of an object as one reading has it, written to ``path`` on the way."""
    digest = blake3()
    with nullcontext() if path is None else path.open("wb") as file:
        for at in range(0, nbytes, WINDOW_NBYTES):
            part = store.read(key, at, min(at + WINDOW_NBYTES, nbytes))
            digest.update(part)
            if file is not None:
                file.write(part)
    return digest.hexdigest()


@contextmanager
def busy(store: ObjectStore, kind: Literal["backup", "prune"], now: datetime) -> Iterator[str]:
    """Be the only one who does this or its counterpart: backups go side by side, prunes alone.

    Each leaves its mark before it looks for others', so of two that meet at least one sees the
    other. A mark counts for a day: who left it may have died. Yields its key. Raises Conflict.
    """
    mark = f"{BUSY}{kind}/{now.strftime(MOMENT)}-{uuid.uuid4().hex}"
    store.put(mark, [b""])
    try:
        oldest = (now - timedelta(seconds=STALE_S)).strftime(MOMENT)
        for stat in list(store.list(BUSY)):
            other, _, moment = stat.key.removeprefix(BUSY).partition("/")
            if moment < oldest:
                store.delete(stat.key)
            elif stat.key != mark and "prune" in {kind, other}:
                doing = "pruned" if other == "prune" else "backed up to"
                raise Conflict(
                    f"the place is being {doing} since {moment.partition('-')[0]}; if that died,"
                    " wait until a day has passed"
                )
        yield mark
    finally:
        store.delete(mark)


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
