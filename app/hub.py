"""The hub's context: what every service is handed, opened once per process."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.clock import Clock, SystemClock
from app.db import Database
from app.db.tables import Instance
from app.settings import Settings
from app.store.contract import ObjectStore


@dataclass(slots=True)
class Hub:
    """Settings, database, store and clock of one hub, with the facts that never change at run time."""

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


def load_instance_facts(hub: Hub) -> None:
    """Read the secret and store epoch, making them on the first start."""

    def work(session: Session) -> dict[str, str]:
        facts = {row.name: row.value for row in session.scalars(select(Instance))}
        for name, make in (
            ("secret", lambda: secrets.token_hex(32)),
            ("store_epoch", lambda: secrets.token_hex(4)),
            ("cas_epoch", lambda: "1"),
        ):
            if name not in facts:
                facts[name] = make()
                session.add(Instance(name=name, value=facts[name]))
        return facts

    facts = hub.db.run(work)
    hub.secret = bytes.fromhex(facts["secret"])
    hub.store_epoch = facts["store_epoch"]
