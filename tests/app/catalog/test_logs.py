"""Logs read in pages, over drawn histories whose clocks may be wrong."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.catalog import logs
from app.catalog.ancestry import Ancestry
from app.catalog.logs import Position, read_log
from app.db import Database
from app.errors import RevisionNotFound
from tests.fixtures.ancestry import Graph, graphs, reached, write_graph


@pytest.fixture
def session(any_database: Database):
    """A session whose changes are never committed."""
    with any_database.engine.connect() as connection, Session(connection) as opened:
        yield opened
        opened.rollback()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(graph=graphs(), limit=st.integers(1, 4), most=st.integers(1, 3), data=st.data())
def test_pages_name_every_commit_once_and_the_latest_first(
    session: Session, graph: Graph, limit: int, most: int, data: st.DataObject
):
    seconds = {oid: data.draw(st.integers(-3, 3)) for oid in graph}
    head = data.draw(st.sampled_from(sorted(graph)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "MOST_HEADS", most)
        nested = session.begin_nested()
        repo_id = write_graph(session, graph, seconds)
        listed: list[str] = []
        position = Position((head,))
        while position is not None:
            commits, position = read_log(session, repo_id, position, limit=limit)
            assert len(position.heads if position else ()) <= most
            listed += [commit.oid for commit in commits]
        assert sorted(listed) == sorted(reached(graph, head))
        history = Ancestry(session, repo_id)
        steps = [step for oid in listed if (step := history.find(oid)) is not None]
        dates = [(step.dated_at, step.generation) for step in steps]
        assert dates == sorted(dates, reverse=True)
        assert all(listed.index(oid) < listed.index(up) for oid in listed for up in graph[oid])
        nested.rollback()


def test_a_position_that_is_gone_is_told(session: Session):
    repo_id = write_graph(session, {"a": ""})
    with pytest.raises(RevisionNotFound):
        read_log(session, repo_id, Position(("gone",)), limit=1)
    assert read_log(session, repo_id, Position(("a",), skipped=9), limit=1) == ([], None)
