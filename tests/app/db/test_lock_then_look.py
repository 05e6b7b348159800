"""Why state changes lock in one statement and look in the next: the race, on real PostgreSQL.

A commit refers to a content while garbage collection judges it. PostgreSQL's READ COMMITTED gives
every statement a snapshot of its start; a statement that waited for a row lock sees the row anew,
but its sub-queries see the past. SQLite cannot show this: its writers are serial.
"""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

CONDEMN = """UPDATE content SET state = 'condemned' WHERE digest = 'x' AND state = 'live'
    AND NOT EXISTS (SELECT 1 FROM segment WHERE segment.digest = content.digest)"""
CONDEMN_JOINED = """UPDATE content SET state = 'condemned' WHERE digest IN (
    SELECT c.digest FROM content c LEFT JOIN segment s ON s.digest = c.digest
    WHERE s.digest IS NULL AND c.state = 'live' FOR UPDATE OF c)"""
LOCK = "SELECT 1 FROM content WHERE digest = 'x' FOR UPDATE"

COMMITS = {
    "for update": "SELECT 1 FROM content WHERE digest = 'x' FOR UPDATE",
    "for share": "SELECT 1 FROM content WHERE digest = 'x' FOR SHARE",
    "update": "UPDATE content SET generation = generation + 1 WHERE digest = 'x'",
}


class Race:
    """A commit that holds its transaction open, and a collector that meets it."""

    def __init__(self, url: str) -> None:
        self.url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                """CREATE TABLE content (digest text PRIMARY KEY, state text,
                   generation int DEFAULT 0);
                   CREATE TABLE segment (file text, digest text);
                   INSERT INTO content VALUES ('x', 'live')"""
            )

    def run(self, commit: str, collect: list[str]) -> str:
        """State of the content that ended up referred to."""
        with psycopg.connect(self.url) as committing, psycopg.connect(self.url) as collecting:
            committing.execute(commit)
            committing.execute("INSERT INTO segment VALUES ('f', 'x')")

            def judge() -> None:
                for statement in collect:
                    collecting.execute(statement)
                collecting.commit()

            collector = threading.Thread(target=judge)
            collector.start()
            self._until(lambda: not collector.is_alive() or self._waits(collecting))
            committing.commit()
            collector.join()
            row = committing.execute("SELECT state FROM content WHERE digest = 'x'").fetchone()
        assert row is not None
        return row[0]

    def _waits(self, connection: psycopg.Connection) -> bool:
        """Whether the connection's backend waits for a lock, as seen from outside."""
        with psycopg.connect(self.url, autocommit=True) as observer:
            row = observer.execute(
                "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s",
                (connection.info.backend_pid,),
            ).fetchone()
        return row == ("Lock",)

    @staticmethod
    def _until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            threading.Event().wait(0.005)


@pytest.fixture
def race(empty_postgres: str) -> Race:
    return Race(empty_postgres)


@pytest.mark.parametrize("commit", COMMITS.values(), ids=COMMITS.keys())
def test_lock_then_look_sees_the_reference(race: Race, commit: str):
    assert race.run(commit, [LOCK, CONDEMN]) == "live"


@pytest.mark.parametrize("commit", COMMITS.values(), ids=COMMITS.keys())
def test_one_statement_condemns_what_is_referred_to(race: Race, commit: str):
    """The counterexample that makes the rule; if it stops failing, the rule can be reconsidered."""
    assert race.run(commit, [CONDEMN]) == "condemned"


def test_locking_sub_query_is_no_better(race: Race):
    assert race.run(COMMITS["update"], [CONDEMN_JOINED]) == "condemned"
