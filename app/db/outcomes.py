"""What became of a commit whose answer was lost: PostgreSQL remembers, by transaction id.

Without it a lost answer leaves two bad choices, to do the work twice or to say that it failed
though it did not. See pg_xact_status in PostgreSQL's documentation, "Transaction ID and Snapshot
Information Functions".
"""

import time

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import Unavailable

PATIENCE_S = 30.0
"""How long a server is asked that does not answer: a restart takes seconds."""

PAUSE_S = 0.1

_NAME = text("SELECT CAST(pg_current_xact_id_if_assigned() AS text)")
_STATUS = text("SELECT pg_xact_status(CAST(:name AS xid8))")
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE backend_xid = CAST(CAST(:name AS xid8) AS xid)"
)
"""For a server that has not noticed that its client is gone."""


def name_of(session: Session) -> str | None:
    """The transaction's id; None if there is nothing to ask about it later.

    That is: it wrote nothing, or the database is SQLite, whose commit is a call that returns.
    """
    if session.get_bind().dialect.name != "postgresql":
        return None
    session.flush()
    return session.scalar(_NAME)


def was_committed(engine: Engine, name: str) -> bool:
    """Whether the transaction took effect. Raises Unavailable if nobody says so in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with engine.connect() as connection:
                status = connection.scalar(_STATUS, {"name": name})
                if status == "in progress":
                    connection.execute(_END, {"name": name})
        except DBAPIError:
            status = None
        if status in ("committed", "aborted"):
            return status == "committed"
        if time.monotonic() > deadline:
            raise Unavailable("the database went away during a commit; look before trying again")
        time.sleep(PAUSE_S)
