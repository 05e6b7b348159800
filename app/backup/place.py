"""Where backups lie: a directory or a bucket, objects under their own keys, one manifest each.

o/…                      objects, shared by all backups in the place
backup/<moment>/dump     the database
backup/<moment>/manifest what belongs together; written last, so it is there only for a whole one
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from app.errors import InvalidRequest, NotFound
from app.settings import Settings
from app.store.contract import ObjectStore
from app.store.factory import open_store

PREFIX = "backup/"


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
    keys = [stat.key for stat in store.list(PREFIX) if stat.key.endswith("/manifest")]
    if not keys:
        raise NotFound("there is no backup in that place")
    stat = store.stat(keys[-1])
    assert stat is not None
    return Manifest(**json.loads(store.read(stat.key, 0, stat.nbytes)))


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
