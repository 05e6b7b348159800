"""The hub's context: what every service is handed, opened once per process."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import Clock, SystemClock
from app.db import Database, schema
from app.db.tables import Instance
from app.settings import Settings
from app.store.contract import ObjectStore
from app.store.factory import open_store


@dataclass(slots=True)
class Hub:
    """Settings, database, store and clock of one hub, with the facts that do not change."""

    settings: Settings
    db: Database
    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    secret: bytes = b""
    """Signs capability URLs."""
    store_epoch: str = ""
    """Part of every object key this process makes."""
    notify_jobs: Callable[[list[int]], None] = field(default=lambda _ids: None)
    """Called after commit with the ids of jobs that were queued; a hint, never the truth."""

    def close(self) -> None:
        """Release database and store."""
        self.db.dispose()
        self.store.close()


def open_hub(settings: Settings) -> Hub:
    """Open the hub that the settings describe: its data directory, schema, database and store.

    Brings the schema up to this version of the code. Several processes may open one at once.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    schema.upgrade(settings.resolved_database_url)
    hub = Hub(
        settings=settings,
        db=Database(settings.resolved_database_url),
        store=open_store(
            settings.resolved_store_url,
            access_key=_secret_text(settings.s3_access_key),
            secret_key=_secret_text(settings.s3_secret_key),
        ),
    )
    try:
        load_instance_facts(hub)
    except BaseException:
        hub.close()
        raise
    return hub


def load_instance_facts(hub: Hub) -> None:
    """Read the secret and store epoch, making them on the first start.

    Of several processes that start on an empty database one makes them, and all read the same.
    """
    fresh = [
        {"name": "secret", "value": secrets.token_hex(32)},
        {"name": "store_epoch", "value": secrets.token_hex(4)},
        {"name": "cas_epoch", "value": "1"},
    ]
    insert = postgresql.insert if hub.db.dialect == "postgresql" else sqlite.insert

    def work(session: Session) -> dict[str, str]:
        session.execute(insert(Instance).on_conflict_do_nothing(), fresh)
        return {row.name: row.value for row in session.scalars(select(Instance))}

    with hub.db.read() as session:
        facts = {row.name: row.value for row in session.scalars(select(Instance))}
    if len(facts) < len(fresh):
        facts = hub.db.run(work)
    hub.secret = bytes.fromhex(facts["secret"])
    hub.store_epoch = facts["store_epoch"]


def _secret_text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
