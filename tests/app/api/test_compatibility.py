"""docs/compatibility.md tells of every route of the Hub's interface, and of no other."""

import inspect
import re
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from huggingface_hub import hf_api
from starlette.routing import Match

from app.api.hf.out_of_scope import LEFT_OUT
from app.main import ROUTERS, ROUTES
from tests.fixtures.api import LiveHub

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"
ROW = re.compile(r"^\| `([A-Z]+ )?(/[^`]*)` \| (.*?) \|", re.MULTILINE)


def as_documented(path: str) -> str:
    """A route's path as the document writes it."""
    path = path.replace("{repo_type:repotype}", "{type}")
    path = path.replace("{repo_type:typeprefix}", "[{type}/]").replace("{rest:path}", "…")
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def test_every_route_is_documented_and_no_other():
    documented = [f"{method}{path}" for method, path, _ in ROW.findall(DOCUMENT.read_text())]
    served = {
        f"{method} {as_documented(route.path)}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and route.include_in_schema
        and route.endpoint.__module__.startswith(("app.api.hf.", "app.api.git", "app.api.openai."))
        for method in route.methods
    }
    rows = {row for row in documented if not row.startswith("/")}
    assert served - rows == set(), "add a row for each to docs/compatibility.md"
    assert rows - served == set(), "these are in docs/compatibility.md and not served"
    assert len(documented) == len(set(documented))


def client_urls() -> set[str]:
    """Paths that the client's source puts behind its endpoint, with something for each variable."""
    source = Path(inspect.getfile(hf_api)).read_text(encoding="utf-8")
    texts = set(re.findall(r'f"\{(?:self\.)?endpoint\}(/[^"]*)"', source))
    known = {"repo_id": "a/b", "src_repo_id": "a/b", "from_id": "a/b", "bucket_id": "a/b"}
    known |= dict.fromkeys(("repo_type", "src_repo_type", "api_prefix"), "model")
    known |= {"discussion_num": "1", "resource": "title", "constants": ""}

    def fill(found: re.Match[str]) -> str:
        return known.get(found[1], "" if "encoded" in found[1] else "x")

    urls = {re.sub(r"\{(\w+)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", fill, text) for text in texts}
    # Some name a repo with its type by one variable.
    urls = {url.replace("/api/model/", "/api/models/") for url in urls}
    return {url.replace("/api/a/b/", "/api/models/a/b/").partition("?")[0] for url in urls}


def test_every_address_in_the_client_has_an_answer():
    urls = client_urls()
    assert len(urls) > 80
    unknown = {
        url
        for url in urls
        if ROUTES.matches({"type": "http", "method": "GET", "path": url})[0] is Match.NONE
    }
    assert unknown == set(), "serve them, or leave them out with a reason"


def test_what_is_left_out_is_documented_with_its_reason():
    documented = {
        path: reason for method, path, reason in ROW.findall(DOCUMENT.read_text()) if not method
    }
    assert documented == {as_documented(path): reason for path, reason in LEFT_OUT.items()}


def test_what_is_left_out_says_so(live_hub: LiveHub):
    client = live_hub.http(None)
    for path, reason in LEFT_OUT.items():
        url = path.replace("{rest:path}", "x/y").format(namespace="a", name="b")
        for method in ("GET", "POST", "DELETE"):
            answer = client.request(method, url)
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (501, "NotOffered"), url
            assert answer.json() == {"error": reason}


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_telemetry_is_taken_note_of_by_nobody(live_hub: LiveHub, method: str):
    answer: httpx.Response = live_hub.http(None).request(method, "/api/telemetry/x/y")
    assert (answer.status_code, answer.content) == (204, b"")
