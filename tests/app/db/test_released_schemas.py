"""A hub of any earlier schema, with data in it, becomes one of today that serves every byte."""

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.backup.dump import load_rows, read_dump
from app.db import Database, schema
from app.db.tables import Encoding, Repo
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub, open_hub
from app.jobs.runner import drain
from app.main import create_app
from app.settings import Settings
from app.tasks import HANDLERS
from tests.fixtures.schemas import SchemaFixture, fixture_path, fixtures, load_fixture, revisions

pytestmark = pytest.mark.long

CHANGELOG = Path(__file__).resolve().parents[3] / "CHANGELOG.md"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without tables."""
    if request.param == "postgres":
        return request.getfixturevalue("empty_postgres")
    return f"sqlite:///{tmp_path / 'old.sqlite'}"


def fill(fixture: SchemaFixture, url: str, tmp_path: Path) -> None:
    """Rows of a hub of that schema, into a database without tables."""
    schema.upgrade(url, fixture.revision)
    database = Database(url)
    dump = tmp_path / "dump"
    dump.write_bytes(fixture.dump)
    database.run(lambda session: load_rows(session, read_dump(dump), lambda _table, _row: True))
    database.dispose()


def settings_of(fixture: SchemaFixture, url: str, tmp_path: Path) -> Settings:
    """Of a hub with these rows, and the objects that belong to them."""
    for key, data in fixture.objects.items():
        path = tmp_path / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Settings(
        data=tmp_path / "data",
        database_url=SecretStr(url),
        store_url=(tmp_path / "objects").as_uri(),
    )


@pytest.fixture(params=fixtures())
def old_hub(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Iterator[tuple[SchemaFixture, Hub]]:
    """A hub of an earlier schema, opened by today's code."""
    fixture = load_fixture(request.param)
    fill(fixture, database_url, tmp_path)
    hub = open_hub(settings_of(fixture, database_url, tmp_path))
    yield fixture, hub
    hub.close()


def serves_everything(hub: Hub, fixture: SchemaFixture) -> None:
    headers = {"authorization": f"Bearer {fixture.token}"}
    client = TestClient(create_app(hub), headers=headers, base_url="http://hub.test")
    stranger = TestClient(create_app(hub), base_url="http://hub.test")
    for each in fixture.files:
        url = f"/{each.repo}/resolve/{each.revision}/{each.path}"
        assert hashlib.sha256(client.get(url).content).hexdigest() == each.sha256, url
        if each.repo != "alice/tune":  # gated, where the version knew of gates
            assert stranger.get(url).is_success == (each.repo == "alice/base"), url
    for name, sha256 in fixture.shelf.items():
        content = client.get(f"/v1/files/{name}/content").raise_for_status().content
        assert hashlib.sha256(content).hexdigest() == sha256
        jobs = client.get("/v1/fine_tuning/jobs").raise_for_status().json()["data"]
        assert {job["status"] for job in jobs} == {"validating_files", "cancelled"}
    heads = client.get("/api/models/alice/tune/refs").raise_for_status().json()
    assert {ref["name"] for ref in heads["branches"]} == {"main", "early"}
    assert [ref["name"] for ref in heads["tags"]] == ["v1"]


def test_every_byte_is_served_and_the_hub_lives_on(old_hub: tuple[SchemaFixture, Hub]):
    fixture, hub = old_hub
    assert len(fixture.files) >= 7
    serves_everything(hub, fixture)
    report = fsck(hub, deep=True)
    assert report.clean, report.problems
    with hub.db.read() as session:
        deltas = session.scalar(select(func.count()).where(Encoding.base_id.is_not(None)))
        repos = session.scalar(select(func.count()).where(Repo.type == "model"))
    assert deltas, "the fixture has nothing to lose"
    assert repos == 3
    drain(hub, HANDLERS)
    collect(hub, now=True)
    serves_everything(hub, fixture)


@pytest.mark.parametrize(("revision", "next_one"), [*itertools.pairwise(revisions())])
def test_a_step_forth_and_back_loses_no_byte(
    revision: str, next_one: str, database_url: str, tmp_path: Path
):
    fixture = load_fixture(revision)
    fill(fixture, database_url, tmp_path)
    schema.upgrade(database_url, next_one)
    schema.downgrade(database_url, revision)
    hub = open_hub(settings_of(fixture, database_url, tmp_path))
    serves_everything(hub, fixture)
    report = fsck(hub, deep=True)
    assert report.clean, report.problems
    hub.close()


def test_every_schema_from_the_first_to_the_newest_fixture_has_one():
    known = revisions()
    assert fixtures() == known[: known.index(fixtures()[-1]) + 1]
    for revision in fixtures():
        assert load_fixture(revision).revision == revision


def lacking_fixture(changelog: str, revision: str) -> str | None:
    """What a release still needs; None if this is none, or it has it.

    It is one if the newest section of the changelog is a version's.
    """
    newest = re.search(r"^## (.+)$", changelog, re.MULTILINE)
    assert newest is not None
    if newest[1] == "Unreleased" or fixture_path(revision).exists():
        return None
    return f"{newest[1]} has schema {revision}: run `python -m tests.fixtures.schemas`, commit it"


def test_no_version_is_released_without_a_fixture_of_its_schema():
    assert lacking_fixture(CHANGELOG.read_text(), revisions()[-1]) is None
    assert lacking_fixture("# Changelog\n\n## 9.9.9\n\n## 9.9.8\n", "none") is not None
    assert lacking_fixture("# Changelog\n\n## Unreleased\n\n## 9.9.8\n", "none") is None
