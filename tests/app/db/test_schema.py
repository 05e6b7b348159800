"""The migrations and the models describe the same schema, on both databases, both ways."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from app.db import Database, schema
from app.db.tables import Table
from app.hub import Hub, load_instance_facts
from app.settings import Settings
from app.store.memory import MemoryStore


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables."""
    if request.param == "postgres":
        database = Database(request.getfixturevalue("empty_postgres"))
    else:
        database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    yield database
    database.dispose()


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def tables_of(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_up_down_up(empty_database: Database):
    url = url_of(empty_database)
    schema.upgrade(url)
    assert tables_of(empty_database) == set(Table.metadata.tables)
    schema.downgrade(url, "base")
    assert tables_of(empty_database) == set()
    schema.upgrade(url)
    schema.upgrade(url)
    assert tables_of(empty_database) == set(Table.metadata.tables)


def test_models_equal_migrations(any_database: Database):
    with any_database.engine.connect() as connection:
        options = {"compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


def test_check_constraints_equal_migrations(any_database: Database):
    """Alembic does not compare them: names at least must agree."""
    inspector = inspect(any_database.engine)
    for table in Table.metadata.sorted_tables:
        modelled = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
        migrated = {check["name"] for check in inspector.get_check_constraints(table.name)}
        assert migrated == modelled, table.name


START = """
import sys
from pathlib import Path
from pydantic import SecretStr
from app.hub import open_hub
from app.settings import Settings
print("ready", flush=True)
sys.stdin.readline()
url = SecretStr(sys.argv[2])
hub = open_hub(Settings(data=Path(sys.argv[1]), database_url=url, store_url="memory://"))
print(hub.secret.hex(), hub.store_epoch)
hub.close()
"""


def test_processes_that_start_at_once_agree(empty_database: Database, tmp_path: Path):
    """Schema and instance facts are made once, whoever comes first."""
    command = [sys.executable, "-c", START, str(tmp_path / "data"), url_of(empty_database)]
    starting = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in starting]
    assert [process.returncode for process in starting] == [0, 0, 0], ends
    assert len({output for output, _ in ends}) == 1
    hub = Hub(settings=Settings(data=tmp_path), db=empty_database, store=MemoryStore())
    load_instance_facts(hub)
    assert ends[0][0].split() == [hub.secret.hex(), hub.store_epoch]
