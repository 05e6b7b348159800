"""Bounds on bodies and ids of requests, before anything is read."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from serving.api import guard
from serving.api.guard import Guard

MOST = 1000


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(guard, "BODY_NBYTES", MOST)
    app = FastAPI()
    app.add_middleware(Guard)

    @app.post("/")
    async def nbytes(request: Request) -> int:
        return len(await request.body())

    with TestClient(app) as client:
        yield client


def in_pieces(nbytes: int) -> Iterator[bytes]:
    """Without a content-length: nobody says how long it gets."""
    for start in range(0, nbytes, 100):
        yield b"x" * min(100, nbytes - start)


def test_bodies_up_to_the_bound(client: TestClient) -> None:
    assert client.post("/", content=b"x" * MOST).json() == MOST
    assert client.post("/", content=in_pieces(MOST)).json() == MOST


@pytest.mark.parametrize("declared", [True, False])
def test_longer_ones_are_refused(client: TestClient, declared: bool) -> None:
    body = b"x" * (MOST + 1) if declared else in_pieces(MOST + 1)

    assert client.post("/", content=body).status_code == 413


def test_a_declared_length_is_refused_before_the_body_comes(client: TestClient) -> None:
    answer = client.post("/", content=b"x", headers={"content-length": str(MOST + 1)})

    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("sent", ["mine-1", "x" * 128])
def test_an_id_is_echoed(client: TestClient, sent: str) -> None:
    assert client.post("/", headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "caf\xe9"])
def test_one_is_made_where_none_is_fit(client: TestClient, sent: str) -> None:
    headers = {"x-request-id": sent.encode("latin-1")}
    made = {client.post("/", headers=headers).headers["x-request-id"] for _ in range(2)}

    assert len(made) == 2
    assert all(len(each) == 32 for each in made)


def test_refusals_have_an_id_too(client: TestClient) -> None:
    answer = client.post("/", content=b"x" * (MOST + 1), headers={"x-request-id": "mine"})

    assert answer.headers["x-request-id"] == "mine"
