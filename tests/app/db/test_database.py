"""The unit of work: commits once, runs hooks after, retries lost races, forbids store I/O."""

import threading

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.db import Database, after_commit
from app.db.tables import Instance
from app.errors import Unavailable
from app.guard import forbid_in_transaction


def count(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


def test_hooks_run_after_commit_outside_the_transaction(any_database: Database):
    seen: list[int] = []

    def hook() -> None:
        forbid_in_transaction("put")
        seen.append(count(any_database))

    with any_database.write() as session:
        session.add(Instance(name="a", value="1"))
        after_commit(session, hook)
        assert seen == []
    assert seen == [1]


def test_rollback_undoes_all_and_forgets_hooks(any_database: Database):
    def work(session: Session) -> None:
        session.add(Instance(name="a", value="1"))
        after_commit(session, lambda: pytest.fail("hook ran"))
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        any_database.run(work)
    assert count(any_database) == 0


def test_read_transaction_writes_nothing(any_database: Database):
    with any_database.read() as session:
        session.add(Instance(name="a", value="1"))
        session.flush()
    assert count(any_database) == 0


def test_only_patient_readers_have_no_statement_timeout(postgres: str):
    database = Database(postgres)
    with database.read(patient=True) as session:
        assert session.scalar(text("SHOW statement_timeout")) == "0"
    with database.read() as session:  # on the same connection
        assert session.scalar(text("SHOW statement_timeout")) == "30s"
    database.dispose()


def test_looks_are_no_transactions_on_postgres(postgres: str):
    now = text("SELECT now(), set_config('a.b', 'kept', true), current_setting('a.b', true)")
    with Database(postgres) as database:
        for _ in range(2):
            with database.read() as session:
                assert session.execute(now).one()[0] == session.execute(now).one()[0]
            with database.look() as session:  # on the same connection
                assert session.execute(now).one()[0] < session.execute(now).one()[0]


def test_looks_find_what_is_there(any_database: Database):
    with any_database.write() as session:
        session.add(Instance(name="a", value="1"))
    with any_database.look() as session:
        found = session.scalars(select(Instance)).one()
    assert found.value == "1"


def test_connections_that_broke_while_idle_are_not_used(postgres: str, monkeypatch):
    monkeypatch.setattr("app.db.database.IDLE_S", 0)
    with Database(postgres) as database, Database(postgres) as other:
        with database.read() as one, database.read() as two:
            pids = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, two)]
        with other.write() as session:
            for pid in pids:
                session.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        for begin in (database.read, database.look):
            with begin() as session:
                assert session.scalar(text("SELECT 1")) == 1
        database.run(lambda session: session.add(Instance(name="a", value="1")))
        assert count(database) == 1


def test_connection_in_use_is_closed_when_it_comes_back(any_database: Database):
    """After the database was disposed of: a thread that a hub did not wait for has one yet."""
    with any_database.read() as session:
        session.execute(text("SELECT 1"))
        raw = session.connection().connection.driver_connection
        any_database.dispose()
        assert session.scalar(text("SELECT 1")) == 1
    with pytest.raises(Exception, match="closed"):
        raw.execute("SELECT 1")  # type: ignore[union-attr]
    for _ in range(3):
        assert count(any_database) == 0, "it may be used again"
    with any_database.read() as session:
        assert session.connection().connection.driver_connection is not raw


def test_store_access_inside_a_transaction_raises(any_database: Database):
    for section in (any_database.read, any_database.write):
        with section(), pytest.raises(RuntimeError, match=r"store\.read inside"):
            forbid_in_transaction("read")
    forbid_in_transaction("read")


def test_other_threads_are_not_inside(any_database: Database):
    outcome: list[str] = []

    def access() -> None:
        forbid_in_transaction("read")
        outcome.append("allowed")

    with any_database.write():
        thread = threading.Thread(target=access)
        thread.start()
        thread.join()
    assert outcome == ["allowed"]


def test_constraint_violation_is_not_retried(any_database: Database):
    attempts: list[int] = []

    def work(session: Session) -> None:
        attempts.append(1)
        session.add_all([Instance(name="a", value="1")])
        session.flush()
        session.execute(text("INSERT INTO instance (name, value) VALUES ('a', '2')"))

    with pytest.raises(IntegrityError):
        any_database.run(work)
    assert len(attempts) == 1


def test_database_that_stays_busy_is_unavailable(any_database: Database):
    attempts: list[int] = []

    def work(_session: Session) -> None:
        attempts.append(1)
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    with pytest.raises(Unavailable):
        any_database.run(work, attempts=3)
    assert len(attempts) == 3


def test_foreign_keys_are_enforced(any_database: Database):
    def work(session: Session) -> None:
        session.execute(
            text("INSERT INTO membership (org_id, user_id, role) VALUES (1, 2, 'read')")
        )

    with pytest.raises(IntegrityError):
        any_database.run(work)


def test_deadlock_is_retried(postgres: str):
    """Two transactions lock two rows in opposite order; PostgreSQL kills one; both get through."""
    database = Database(postgres)
    with database.write() as session:
        session.add_all([Instance(name="a", value=""), Instance(name="b", value="")])
    both_hold_one = threading.Barrier(2)
    attempts: list[str] = []

    def update(order: str) -> None:
        def work(session: Session) -> None:
            attempts.append(order)
            for number, name in enumerate(order):
                row = session.get(Instance, name, with_for_update=True)
                assert row is not None
                row.value += order[0]
                session.flush()
                if number == 0 and attempts.count(order) == 1:
                    both_hold_one.wait(30)

        database.run(work)

    threads = [threading.Thread(target=update, args=(order,)) for order in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attempts) >= 3
    with database.read() as session:
        values = [row.value for row in session.scalars(select(Instance))]
    assert [sorted(value) for value in values] == [["a", "b"]] * 2
    database.dispose()


def test_sqlite_writers_queue_instead_of_failing(tmp_path, migrated_sqlite: bytes):
    path = tmp_path / "hub.sqlite"
    path.write_bytes(migrated_sqlite)
    database = Database(f"sqlite:///{path}")
    with database.write() as session:
        session.add(Instance(name="n", value="0"))

    def add() -> None:
        def work(session: Session) -> None:
            row = session.scalars(select(Instance)).one()
            row.value = str(int(row.value) + 1)

        for _ in range(10):
            database.run(work)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.scalars(select(Instance)).one().value == "40"
    database.dispose()
