"""Liveness, readiness and metrics of a running hub."""

from huggingface_hub import CommitOperationAdd

from app import __version__
from tests.fixtures.api import LiveHub


def test_a_ready_hub_says_so(live_hub: LiveHub):
    client = live_hub.http(None)
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz").json()
    assert (answer["status"], answer["checks"]) == ("ok", ["database", "store"])


def test_readiness_names_what_is_missing(live_hub: LiveHub, monkeypatch):
    from app.store.contract import StoreUnavailable

    def fail(_key: str):
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(live_hub.hub.store, "stat", fail)
    answer = live_hub.http(None).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == {"store": "StoreUnavailable"}


def test_metrics_count_requests_by_route_and_state_bytes(live_hub: LiveHub):
    live_hub.api().create_repo("alice/model")
    live_hub.api().create_commit(
        "alice/model", [CommitOperationAdd("a", b"abc")], commit_message="a"
    )
    text = live_hub.http(None).get("/metrics").text
    route = "/api/{repo_type:repotype}/{namespace}/{name}/commit/{revision:quoted}"
    assert f'clade_http_requests_total{{method="POST",route="{route}",status="200"}} 1.0' in text
    assert "alice" not in text
    assert 'clade_http_request_seconds_count{route="/api/repos/create"} 1.0' in text
    stored = next(line for line in text.splitlines() if line.startswith("clade_stored_bytes "))
    assert float(stored.split()[1]) > 0
    assert "clade_repos 1.0" in text
    assert 'clade_store_requests_total{operation="put"}' in text
    assert 'clade_saved_bytes{cause="delta"} 0.0' in text
    assert f'clade_info{{version="{__version__}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_pages_list_repos_and_files(live_hub: LiveHub):
    live_hub.api().create_repo("alice/model")
    live_hub.api().create_repo("alice/secret", private=True)
    client = live_hub.http(None)
    index = client.get("/").text
    assert "alice/model" in index
    assert "alice/secret" not in index
    page = client.get("/alice/model")
    assert ".gitattributes" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert client.get("/datasets/alice/model").status_code in {401, 404}
