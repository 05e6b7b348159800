"""INSERT that leaves an existing row alone, on both dialects."""

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.tables.base import Table


def insert_if_absent(session: Session, table: type[Table], row: dict[str, Any]) -> bool:
    """Insert one row unless its key is taken; True if it was inserted.

    If another transaction is inserting the same key, this waits for its outcome.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    key = inspect(table).primary_key
    insert = dialect.insert(table).values(row).on_conflict_do_nothing().returning(*key)
    return session.execute(insert).first() is not None
