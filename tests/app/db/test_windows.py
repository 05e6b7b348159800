"""Windows cover every row once, whatever the gaps."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from app.db import Database, schema
from app.db.tables import Job
from app.db.windows import id_windows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    url = f"sqlite:///{tmp_path_factory.mktemp('windows') / 'hub.sqlite'}"
    schema.upgrade(url)
    return Database(url)


@given(ids=st.sets(st.integers(1, 2**40), max_size=12), rows=st.integers(1, 5))
def test_every_id_is_in_one_window_of_bounded_rows(database: Database, ids: set[int], rows: int):
    jobs = [
        {"id": i, "kind": "k", "key": "k", "payload": "{}", "run_after": NOW, "created_at": NOW}
        for i in ids
    ]
    with database.write() as session:
        session.execute(delete(Job))
        if jobs:
            session.execute(insert(Job), jobs)
    windows = list(id_windows(database, Job.id, rows))
    assert [low for low, _ in windows] == [0, *(high for _, high in windows)][: len(windows)]
    held = [{i for i in ids if low < i <= high} for low, high in windows]
    assert sorted(i for window in held for i in window) == sorted(ids)
    assert all(1 <= len(window) <= rows for window in held)
