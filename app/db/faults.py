"""What an error of the database means: ask again, make room, or a fault of ours."""

from sqlalchemy.exc import DBAPIError, OperationalError

from app.errors import StorageFull, Unavailable

RETRIED_SQLSTATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}
"""serialization_failure, deadlock_detected, lock_not_available; admin_shutdown, crash_shutdown,
cannot_connect_now: a server that restarts."""

FULL_SQLSTATES = {"53100"}
"""disk_full."""

READ_ONLY_SQLSTATES = {"25006"}
"""read_only_sql_transaction: a standby, or a server set so."""

_FULL_TEXTS = ("database or disk is full",)
_READ_ONLY_TEXTS = ("readonly database", "disk I/O error", "unable to open database file")
"""As SQLite says it; with a full disk it may fail in any of these ways."""


def is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed if it is tried again."""
    if error.connection_invalidated:
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate in RETRIED_SQLSTATES
    return isinstance(error, OperationalError) and (
        "locked" in str(error.orig) or "connect" in str(error.orig)
    )


def refusal(error: DBAPIError) -> Unavailable | None:
    """What to say of a database that cannot write now; None if that is not what is wrong."""
    sqlstate, text = getattr(error.orig, "sqlstate", None), str(error.orig)
    if sqlstate in FULL_SQLSTATES or any(each in text for each in _FULL_TEXTS):
        return StorageFull("the database has no room left; nothing was changed")
    if sqlstate in READ_ONLY_SQLSTATES or any(each in text for each in _READ_ONLY_TEXTS):
        return Unavailable("the database cannot be written to now; nothing was changed")
    return None
