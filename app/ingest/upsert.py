"""INSERT … ON CONFLICT in the dialect of the session's database."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.tables import Table


def upsert(session: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """An insert into ``table`` that knows ``on_conflict_do_nothing`` and ``_do_update``."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
