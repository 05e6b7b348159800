"""Engine and unit of work: one transaction per request or task, hooks that run after it commits.

Only this module commits, and it knows of every commit whether it took effect. SQLite writers are
serialised by BEGIN IMMEDIATE (SQLAlchemy drops FOR UPDATE there); on PostgreSQL rows are locked
first and looked at in the next statement, because a statement's snapshot is older than the lock it
waited for.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import faults, outcomes
from app.db.turn import Turn
from app.errors import Unavailable
from app.guard import transaction_section

T = TypeVar("T")

BUSY = "the database is busy or unreachable; try again"

BUSY_S = 30
"""How long a writer waits for others on SQLite."""

IDLE_S = 0.1
"""A connection to PostgreSQL that lay idle for longer may be broken: it is asked before its use."""

CACHE_KIB = 8 << 10
"""Pages that each connection to SQLite keeps for itself; the system keeps them for all as well."""

_HOOKS = "after_commit_hooks"
_WRITING = "clade_writing"


class Database:
    """Sessions on one database. Thread-safe; sessions are not. A context manager: disposed of."""

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.engine = _create_engine(url, pool_size=pool_size)
        self.dialect = self.engine.dialect.name
        self._pools = 0
        """How many there were; a connection knows of which it is."""
        event.listen(self.engine, "connect", self._opened)
        event.listen(self.engine, "checkin", self._came_back)
        self._statements = self.engine
        """For statements that are transactions by themselves, where that costs less."""
        if self.dialect == "postgresql":
            event.listen(self.engine, "checkout", self._goes_out)
            self._statements = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = Turn() if self.dialect == "sqlite" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[Session]:
        """A read transaction; rows loaded in it stay usable, anything written in it is dropped.

        ``patient``: its statements may take as long as they like, as those over a whole hub do.
        Raises :class:`Unavailable` when the database does not answer.
        """
        # Closing rolls back without expiring what was loaded; Session.rollback() would expire it.
        with _silence(), transaction_section(), self._session() as session:
            if patient and self.dialect == "postgresql":
                session.execute(text("SET LOCAL statement_timeout = 0"))
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """As :meth:`read`, for the few statements of what is asked most; nothing may be written.

        On PostgreSQL each stands by itself: it sees what it would see in a transaction there, and
        BEGIN and ROLLBACK, half of the time of a short read, are saved.
        """
        with _silence(), transaction_section(), self._session(self._statements) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction: commits on leaving, rolls back on an exception.

        Hooks registered with :func:`after_commit` run after the commit, outside the transaction.
        """
        hooks: list[Callable[[], None]] = []
        with self._in_turn(), transaction_section(), self._session() as session:
            session.connection(execution_options={_WRITING: True})
            yield session
            self._commit(session)
            hooks += session.info.pop(_HOOKS, [])
        for hook in hooks:
            hook()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """The whole database as of one moment, for as long as it is held; for reading only."""
        with transaction_section(), self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    def run(self, work: Callable[[Session], T], *, attempts: int = 5) -> T:
        """Run ``work`` in a write transaction, again from the start if it loses a race.

        It takes effect once or not at all. Raises :class:`Unavailable` when the database stays busy
        or does not answer, StorageFull when it has no room.
        """
        for attempt in range(attempts):
            try:
                with self.write() as session:
                    return work(session)
            except PoolTimeout as error:
                raise Unavailable(BUSY) from error
            except DBAPIError as error:
                if refused := faults.refusal(error):
                    raise refused from error
                if not faults.is_transient(error):
                    raise
                if attempt == attempts - 1:
                    raise Unavailable(BUSY) from error
                time.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let this process's writers on SQLite queue here.

        SQLite itself lets them sleep, longer each time, and look again: with four writers most of
        the time goes by asleep. Writers of other processes are still met there.
        """
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(BUSY_S):
            raise Unavailable(BUSY)
        try:
            yield
        finally:
            self._turn.release()

    def _session(self, engine: Engine | None = None) -> Session:
        return Session(engine or self.engine, expire_on_commit=False)

    def _commit(self, session: Session) -> None:
        """Commit; if the connection breaks meanwhile, find out whether it did."""
        transaction = outcomes.name_of(session)
        try:
            session.commit()
        except DBAPIError as error:
            if transaction is None or not faults.is_transient(error):
                raise
            if not outcomes.was_committed(self.engine, transaction):
                raise

    def dispose(self) -> None:
        """Close all connections; one that is in use, when it comes back."""
        self._pools += 1
        self.engine.dispose()

    def _opened(self, _connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["pool"] = self._pools

    def _came_back(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        """Close what belongs to a pool that was disposed of: nobody else would."""
        record.info["idle_since"] = time.monotonic()
        if connection is not None and record.info.get("pool") != self._pools:
            connection.close()

    def _goes_out(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """Have all connections replaced if this one broke while it lay idle."""
        now = time.monotonic()
        if now - record.info.get("idle_since", now) < IDLE_S:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def after_commit(session: Session, hook: Callable[[], None]) -> None:
    """Run ``hook`` once the session's transaction has committed; forget it on rollback."""
    session.info.setdefault(_HOOKS, []).append(hook)


@contextmanager
def _silence() -> Iterator[None]:
    """Turn a database that does not answer into :class:`Unavailable`."""
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable(BUSY) from error
    except DBAPIError as error:
        if refused := faults.refusal(error):
            raise refused from error
        if not faults.is_transient(error):
            raise
        raise Unavailable(BUSY) from error


def _create_engine(url: str, *, pool_size: int) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_use_lifo=True,  # each holds a cache of its own: few in turn hold less
            connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={
            "options": "-c lock_timeout=5s -c statement_timeout=30s"
            " -c idle_in_transaction_session_timeout=60s"
        },
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    _turn_to_wal(cursor)
    for pragma in (
        f"busy_timeout={BUSY_S * 1000}",
        "synchronous=FULL",  # NORMAL may lose acknowledged commits on power loss
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _turn_to_wal(cursor: Any) -> None:
    """Ask again while others open the same new file: SQLite does not wait its timeout for that."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))


def _begin_sqlite(connection: Any) -> None:
    if connection.get_execution_options().get(_WRITING, False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # it waits for nobody, and straight to the driver takes a tenth of the time
        connection.connection.dbapi_connection.execute("BEGIN")
