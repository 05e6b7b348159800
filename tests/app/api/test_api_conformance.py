"""Every operation of the OpenAPI document, asked with what schemathesis makes up.

A live hub with public, private, gated and missing repositories answers; no answer is a fault of the
hub's, and each is one that the document foretells. ``API_EXAMPLES`` says how many requests each
operation gets and ``API_DATABASES`` on which databases (``make test-api``); without them it is a
few, always the same, on SQLite.
"""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from sqlalchemy import select

from app.accounts.users import create_user
from app.clock import SystemClock
from app.db.tables import Repo
from app.settings import Settings
from tests.fixtures.api import ALICE_TOKEN, BOB_TOKEN, LiveHub, add, running_server
from tests.fixtures.hub import API_DATABASES, open_test_hub
from tests.fixtures.openapi import (
    BIG_FILE,
    BIG_SHA256,
    MODEL,
    NEW_SHA256,
    SEEDED,
    app_document,
    register_strategies,
    with_known_values,
)

EXAMPLES = int(os.environ.get("API_EXAMPLES", "0"))
TIMEOUT_S = 120
"""Of an answer: schemathesis waits for ten seconds, which a busy machine may take."""

register_strategies()
SCHEMA = schemathesis.openapi.from_dict(with_known_values(app_document()))
SCHEMA.config.phases.coverage.enabled = EXAMPLES > 0
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def fuzzed_hub(api_settings: Settings) -> Iterator[LiveHub]:
    """A hub for all operations."""
    hub = open_test_hub(api_settings)
    hub.clock = SystemClock()
    create_user(hub, "alice", token=ALICE_TOKEN, orgs=["acme"], email="alice@example.org")
    create_user(hub, "bob", token=BOB_TOKEN)
    with running_server(hub) as url:
        live = LiveHub(hub, url, api_settings.data)
        yield live
        for client in live.clients:
            client.close()
    hub.close()


@pytest.fixture(scope="module")
def connection() -> Iterator[requests.Session]:
    """One for all requests."""
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def found_secrets() -> dict[str, str]:
    """Links and tokens by kind, while what they are for is there."""
    return {}


@pytest.fixture
def secrets(fuzzed_hub: LiveHub, found_secrets: dict[str, str]) -> dict[str, str]:
    """Links and tokens by kind; what an operation before this one destroyed is made again."""
    with fuzzed_hub.hub.db.read() as session:
        present = set(session.scalars(select(Repo.name).where(Repo.name.in_(SEEDED))))
    if present == SEEDED and found_secrets:
        return found_secrets
    api = fuzzed_hub.api()
    for name in SEEDED - present:
        api.create_repo(f"alice/{name}", private=name == "private")
        files = [add("weights.bin", BIG_FILE), add("folder/config.json", b"{}")]
        api.create_commit(f"alice/{name}", files, commit_message="Add files")
        api.create_tag(f"alice/{name}", tag="v1")
        api.create_pull_request(f"alice/{name}", title="A pull request")
    api.update_repo_settings("alice/gated", gated="auto")
    client = fuzzed_hub.http()
    found_secrets |= {
        "read": _answer(client, "GET", f"{MODEL}/xet-read-token/main")["accessToken"],
        "write": _answer(client, "GET", f"{MODEL}/xet-write-token/main")["accessToken"],
        "secret-stored": _stored_bytes_link(client),
        "secret-download": _link(client, "download", BIG_SHA256, "download"),
        "secret-upload": _link(client, "upload", NEW_SHA256, "upload"),
        "secret-verify": _link(client, "upload", NEW_SHA256, "verify"),
    }
    return found_secrets


@pytest.mark.parametrize("api_settings", API_DATABASES, indirect=True)
@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES or 3,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_those_foretold(
    case: schemathesis.Case,
    fuzzed_hub: LiveHub,
    secrets: dict[str, str],
    connection: requests.Session,
):
    token = ALICE_TOKEN
    if case.path.startswith("/cas/"):
        token = secrets["read" if case.path.startswith("/cas/files/") else "write"]
    for name, value in case.path_parameters.items():
        if isinstance(value, str) and value.startswith("secret-"):
            case.path_parameters[name] = secrets[value]
    headers = {"Authorization": f"Bearer {token}"}
    case.call_and_validate(
        base_url=fuzzed_hub.url,
        session=connection,
        headers=headers,
        checks=CHECKS,
        timeout=TIMEOUT_S,
    )


def _answer(client: httpx.Client, method: str, url: str, **arguments: Any) -> dict[str, Any]:
    return client.request(method, url, **arguments).raise_for_status().json()


def _link(client: httpx.Client, operation: str, sha256: str, action: str) -> str:
    """The secret of a link that git-lfs would be given."""
    wanted = {"oid": sha256, "size": len(BIG_FILE)}
    question = {"operation": operation, "objects": [wanted]}
    answer = _answer(client, "POST", "/alice/model.git/info/lfs/objects/batch", json=question)
    return answer["objects"][0]["actions"][action]["href"].rpartition("/")[2]


def _stored_bytes_link(client: httpx.Client) -> str:
    """The secret of a link that ``clade pull`` would be given."""
    plan = _answer(client, "GET", "/api/clade/models/alice/model/plan/main/weights.bin")
    return plan["extents"][0]["url"].rpartition("/")[2]
