"""What migrations make of the rows that they find, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db import Database, schema
from app.db.tables import Commit, RepoTag


@pytest.fixture(params=["sqlite", "postgres"])
def first_schema(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database as of the first revision."""
    if request.param == "postgres":
        database = Database(request.getfixturevalue("empty_postgres"))
    else:
        database = Database(f"sqlite:///{tmp_path / 'old.sqlite'}")
    schema.upgrade(database.engine.url.render_as_string(hide_password=False), "0001")
    yield database
    database.dispose()


#      1 - 2 - 4        parents of 4: 3 and 2
#       \- 3 -/
PARENTS = {"1": "", "2": "1", "3": "1", "4": "32", "5": "4"}
ROWS = """
INSERT INTO account (id, kind, name, key, fullname, is_admin, private_by_default, created_at)
VALUES (1, 'user', 'a', 'a', '', {false}, {false}, '2026-01-01 00:00:00+00:00');
INSERT INTO repo (id, type, namespace_id, name, key, private, downloads, likes, created_at,
                  updated_at)
VALUES (1, 'model', 1, 'm', 'model/a/m', {false}, 0, 0, '2026-01-01 00:00:00+00:00',
        '2026-01-01 00:00:00+00:00');
INSERT INTO tree (repo_id, oid) VALUES (1, 'tree')
"""
HOURS = {"1": 3, "2": 1, "3": 5, "4": 4, "5": 6}
"""When the commits were made, as clocks said."""

COMMIT = text(
    'INSERT INTO "commit" (repo_id, oid, tree_oid, body, title, message, author_name, created_at) '
    "VALUES (1, :oid, 'tree', :body, '', '', '', :made)"
)


def test_commits_get_their_generations_and_dates(first_schema: Database):
    names = {number: number * 40 for number in PARENTS}
    with first_schema.engine.begin() as connection:
        false = "0" if connection.dialect.name == "sqlite" else "false"
        zone = ".000000" if connection.dialect.name == "sqlite" else "+00:00"
        for statement in ROWS.format(false=false).split(";"):
            connection.exec_driver_sql(statement)
        for number, parents in PARENTS.items():
            lines = [f"tree {'0' * 40}", *(f"parent {names[each]}" for each in parents), ""]
            body = "\n".join([*lines, f"parent {names['5']}"]).encode()
            made = f"2026-01-01 0{HOURS[number]}:00:00" + zone
            connection.execute(COMMIT, {"oid": names[number], "body": body, "made": made})
    schema.upgrade(first_schema.engine.url.render_as_string(hide_password=False))
    with Session(first_schema.engine) as session:
        commits = {commit.oid[0]: commit for commit in session.scalars(select(Commit))}
    told = {number: (each.generation, each.dated_at.hour) for number, each in commits.items()}
    assert told == {"1": (1, 3), "2": (2, 3), "3": (2, 5), "4": (3, 5), "5": (4, 6)}


CARD = (
    '{"tags": [], "pipeline_tag": "text-generation", "library_name": "peft", '
    '"card_data": {"language": ["en", "gguf"]}}'
)
TAGS = {
    "text-generation": "pipeline_tag",
    "peft": "library",
    "gguf": "library",
    "en": "language",
    "license:mit": "license",
    "base_model:a/b": "base_model",
    "language:en": "other",
    "tiny": "other",
}
TAGGED = """
INSERT INTO repo_card (repo_id, commit_oid, facts, used_nbytes) VALUES (1, 'c', '{card}', 0);
INSERT INTO repo (id, type, namespace_id, name, key, private, downloads, likes, created_at,
                  updated_at)
VALUES (2, 'dataset', 1, 'm', 'dataset/a/m', {true}, 0, 0, '2026-01-01 00:00:00+00:00',
        '2026-01-01 00:00:00+00:00');
INSERT INTO repo_tag (type, tag, repo_id) VALUES ('dataset', 'language:en', 2);
INSERT INTO repo_tag (type, tag, repo_id) VALUES ('dataset', 'gguf', 2)
"""


def test_tags_are_filed_by_kind_and_by_who_sees_them(first_schema: Database):
    with first_schema.engine.begin() as connection:
        true, false = ("1", "0") if connection.dialect.name == "sqlite" else ("true", "false")
        for statement in (ROWS + ";" + TAGGED).format(true=true, false=false, card=CARD).split(";"):
            connection.exec_driver_sql(statement)
        for tag in TAGS:
            connection.exec_driver_sql(
                f"INSERT INTO repo_tag (type, tag, repo_id) VALUES ('model', '{tag}', 1)"
            )
    schema.upgrade(first_schema.engine.url.render_as_string(hide_password=False))
    with Session(first_schema.engine) as session:
        rows = [(row.repo_id, row.tag, row.kind, row.seen_by) for row in session.query(RepoTag)]
    assert sorted(rows) == sorted(
        [(1, tag, kind, 0) for tag, kind in TAGS.items()]
        + [(2, "language:en", "language", 1), (2, "gguf", "other", 1)]
    )
