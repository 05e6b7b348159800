"""Contents are locked by digest, whatever order they were made in."""

import threading

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.contents.locking import lock_contents
from app.db.tables import Content
from app.digest import content_id_of
from app.hub import Hub
from app.settings import Settings
from tests.fixtures.hub import open_test_hub

LOCK_ONE = "SELECT 1 FROM content WHERE id = %s FOR UPDATE NOWAIT"


@pytest.fixture
def postgres_hub(postgres: str, tmp_path):
    hub = open_test_hub(
        Settings(data=tmp_path, database_url=SecretStr(postgres), store_url="memory://")
    )
    yield hub
    hub.close()


def make_contents(hub: Hub, names: list[bytes]) -> list[int]:
    def work(session) -> list[int]:
        made = [
            Content(digest=content_id_of(name), nbytes=len(name), created_at=hub.clock.now())
            for name in names
        ]
        for each in made:
            session.add(each)
            session.flush()
        return [each.id for each in made]

    return hub.db.run(work)


def test_first_by_digest_is_locked_first(postgres_hub: Hub, postgres: str):
    """Who waits for it holds nothing else, so nobody waits in a circle."""
    names = sorted((bytes([n]) for n in range(8)), key=content_id_of, reverse=True)
    ids = make_contents(postgres_hub, names)
    first, last = ids[-1], ids[0]
    with (
        psycopg.connect(postgres) as holder,
        psycopg.connect(postgres, autocommit=True) as observer,
    ):
        holder.execute(LOCK_ONE, [first])
        waiting = threading.Thread(
            target=lambda: postgres_hub.db.run(lambda session: lock_contents(session, ids))
        )
        waiting.start()
        try:
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while observer.execute(waits).fetchone() is None:
                assert waiting.is_alive()
            observer.execute(LOCK_ONE, [last])
        finally:
            holder.rollback()
            waiting.join()


def test_what_does_not_exist_is_passed_over(postgres_hub: Hub):
    [content] = make_contents(postgres_hub, [b"a"])

    def work(session) -> list[int]:
        lock_contents(session, [content, content + 1], shared=True)
        return list(session.scalars(select(Content.id)))

    assert postgres_hub.db.run(work) == [content]
