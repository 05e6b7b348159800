"""Where walks over the whole hub stand: small JSON objects by name."""

import json
from typing import Any

from sqlalchemy.orm import Session

from app.db.tables import Bookmark
from app.hub import Hub


def load_bookmark(session: Session, name: str) -> dict[str, Any]:
    """What was kept under a name; empty if nothing was."""
    row = session.get(Bookmark, name)
    return {} if row is None else json.loads(row.value)


def keep_bookmark(session: Session, hub: Hub, name: str, value: dict[str, Any]) -> None:
    """Keep a place; an empty one is forgotten."""
    row = session.get(Bookmark, name)
    if not value:
        if row is not None:
            session.delete(row)
        return
    if row is None:
        row = Bookmark(name=name)
        session.add(row)
    row.value = json.dumps(value, sort_keys=True)
    row.updated_at = hub.clock.now()
