"""The database: engine, unit of work, tables."""

from app.db.database import Database, after_commit

__all__ = ["Database", "after_commit"]
