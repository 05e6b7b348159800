"""INSERT … ON CONFLICT in the session's dialect, in batches that fit a statement."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.tables.base import Table

T = TypeVar("T")

BATCH = 1_000
"""Rows or ids in one statement: below the parameter limit of every database."""


def upsert(session: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """An insert into ``table`` that knows ``on_conflict_do_nothing`` and ``_do_update``."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def insert_if_absent(session: Session, table: type[Table], row: dict[str, Any]) -> bool:
    """Insert one row unless its key is taken; True if it was inserted.

    If another transaction is inserting the same key, this waits for its outcome.
    """
    key = inspect(table).primary_key
    insert = upsert(session, table).values(row).on_conflict_do_nothing().returning(*key)
    return session.execute(insert).first() is not None


def batches(items: Sequence[T], length: int = BATCH) -> Iterator[Sequence[T]]:
    """``items`` in runs of at most ``length``."""
    return (items[start : start + length] for start in range(0, len(items), length))
