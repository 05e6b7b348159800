"""The OpenAPI document tells of every route what it takes and what it may answer."""

import inspect
import re

import httpx
import pytest
from fastapi.routing import APIRoute

from app.api.openapi import TAGS
from app.api.request_bodies import body_of
from app.main import ROUTERS
from tests.fixtures.api import LiveHub
from tests.fixtures.openapi import app_document

DOCUMENT = app_document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
READERS = ("read_json(", "read_form_or_json(", "with_body(", "read_body(", "_read_question(")


def test_every_operation_has_one_tag_a_summary_and_a_name_of_its_own():
    for name, operation in OPERATIONS.items():
        assert len(operation["tags"]) == 1, name
        assert operation["tags"][0] in TAGS, name
        assert operation["summary"] != operation["operationId"], name
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


def test_every_parameter_of_a_path_is_described_and_no_other():
    for name, operation in OPERATIONS.items():
        described = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", name)), name


def test_every_endpoint_that_reads_a_body_says_which():
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                source = inspect.getsource(route.endpoint)
                reads = any(reader in source for reader in READERS) or "_read_shard(" in source
                assert reads == (body_of(route.endpoint) is not None), route.path


def test_errors_are_of_one_shape_with_their_headers():
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            if status >= "400" and "validate-yaml" not in name and "readyz" not in name:
                assert answer == {"$ref": f"#/components/responses/{status}"}, name
    for status, response in DOCUMENT["components"]["responses"].items():
        assert set(response["headers"]) == {"X-Error-Code", "X-Error-Message"}, status


def test_who_must_log_in_is_told():
    assert OPERATIONS["POST /api/repos/create"]["security"] == [{"token": []}, {"password": []}]
    assert {} in OPERATIONS["GET /api/{repo_type}"]["security"]
    assert OPERATIONS["POST /cas/{realm}/v2/shards"]["security"] == [{"xet": []}]
    assert "security" not in OPERATIONS["GET /lfs/objects/{sealed}"]


def test_the_document_refers_to_nothing_that_it_lacks():
    components = DOCUMENT["components"]
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", str(DOCUMENT)):
        assert name in components[kind]


def test_the_hub_serves_the_document(live_hub: LiveHub):
    served = live_hub.http(None).get("/openapi.json").json()
    assert served["paths"] == DOCUMENT["paths"]


@pytest.fixture
def docs_page(live_hub: LiveHub) -> httpx.Response:
    return live_hub.http(None).get("/docs").raise_for_status()


def test_the_page_about_it_refers_to_no_foreign_host(docs_page: httpx.Response):
    assert not re.search(r"(?:https?:)?//[\w.]", docs_page.text)
    policy = docs_page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)


def test_everything_that_the_page_needs_is_served(live_hub: LiveHub, docs_page: httpx.Response):
    needed = re.findall(r'(?:src|href)="([^"]+)"', docs_page.text)
    assert len(needed) == 3
    for path in needed:
        asset = live_hub.http(None).get(path).raise_for_status()
        assert asset.content, path
    assert live_hub.http(None).get("/docs/assets/other.js").status_code == 422


def test_page_and_document_work_under_a_path_prefix(live_hub: LiveHub):
    client = live_hub.http(None)
    headers = {"X-Forwarded-Prefix": "/hub"}
    page = client.get("/docs", headers=headers).text
    assert 'src="/hub/docs/assets/swagger-ui-bundle.js"' in page
    assert 'url: "/hub/openapi.json"' in page
    served = client.get("/openapi.json", headers=headers).json()
    assert served["servers"] == [{"url": "/hub"}]
    assert "servers" not in client.get("/openapi.json").json()
