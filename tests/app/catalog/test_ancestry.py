"""Walks over drawn histories beside plain ones, and how much of a long history a walk reads."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.catalog import ancestry
from app.catalog.ancestry import Ancestry, between, is_ancestor, latest_common
from app.db import Database
from tests.fixtures.ancestry import Graph, graphs, reached, write_graph

LONG = 3_000


@pytest.fixture
def session(any_database: Database):
    """A session whose changes are never committed."""
    with any_database.engine.connect() as connection, Session(connection) as opened:
        yield opened
        opened.rollback()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(graph=graphs(), band=st.integers(1, 4), data=st.data())
def test_walks_are_those_of_the_plain_twin(
    session: Session, graph: Graph, band: int, data: st.DataObject
):
    one, other = (data.draw(st.sampled_from(sorted(graph))) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ancestry, "FIRST_BAND", band)
        patch.setattr(ancestry, "LAST_BAND", band)
        nested = session.begin_nested()
        repo_id = write_graph(session, graph)
        shared = reached(graph, one) & reached(graph, other)
        found = latest_common(Ancestry(session, repo_id), one, other)
        if found is None:
            assert not shared
        else:
            assert found.oid in shared
            assert not any(found.oid in reached(graph, graph[oid]) for oid in shared)
        assert is_ancestor(Ancestry(session, repo_id), one, [other]) == (
            one in reached(graph, other)
        )
        new = [step.oid for step in between(Ancestry(session, repo_id), one, other)]
        assert len(new) == len(set(new))
        assert set(new) == reached(graph, other) - reached(graph, one)
        assert all(
            new.index(parent) < new.index(oid)
            for oid in new
            for parent in graph[oid]
            if parent in new
        )
        nested.rollback()


def test_only_what_is_walked_over_is_read(session: Session):
    """A line of thousands of commits with a branch off its end."""
    line = {f"{at:030x}": ([f"{at - 1:030x}"] if at else []) for at in range(LONG)}
    start = f"{LONG - 10:030x}"
    line |= {"side-1": [start], "side-2": ["side-1"]}
    repo_id = write_graph(session, line)
    head = f"{LONG - 1:030x}"
    rows: list[int] = []

    class Counted(Ancestry):
        def _keep(self, query) -> None:
            before = len(self._steps)
            super()._keep(query)
            rows.append(len(self._steps) - before)

    found = latest_common(Counted(session, repo_id), head, "side-2")
    assert found is not None
    assert found.oid == start
    assert not is_ancestor(Counted(session, repo_id), head, ["side-2"])
    assert [step.oid for step in between(Counted(session, repo_id), head, "side-2")] == [
        "side-1",
        "side-2",
    ]
    assert sum(rows) < 200
