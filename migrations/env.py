"""Alembic environment: the URL comes from the hub's settings unless a caller passes one."""

from typing import Literal

from alembic import context

from app.db.database import Database
from app.db.tables import Table
from app.db.tables.base import UtcDateTime
from app.settings import Settings


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our column type as what the database sees: migrations must not import the code."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


def run() -> None:
    """Migrate online under one lock, so that two starting servers do not race.

    PostgreSQL has an advisory lock for it. SQLite is locked by one transaction around all steps and
    the look at which are due: Alembic would give every step its own, and between them another
    server might take the next.
    """
    url = context.config.attributes.get("url") or Settings().resolved_database_url  # pyright: ignore[reportCallIssue]
    with (
        Database(url, pool_size=1) as database,
        database.engine.connect().execution_options(clade_writing=True) as connection,
    ):
        raw = connection.connection.driver_connection
        if database.dialect == "sqlite" and raw is not None:
            # SQLite changes a table by making it anew: dropping the old one must not cascade.
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute("PRAGMA busy_timeout=30000")
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET lock_timeout = '30s'")
            connection.exec_driver_sql("SELECT pg_advisory_lock(7230611)")
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            compare_type=True,
            render_item=render_item,
            render_as_batch=database.dialect == "sqlite",
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()
            if database.dialect == "sqlite":
                torn = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if torn is not None:
                    raise RuntimeError(f"a migration left a row without what it refers to: {torn}")
        connection.commit()


run()
