"""What wraps every request: ids, the last resort, and honest counting."""

import asyncio
import logging

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from app.api.errors import install_error_responses
from app.api.metrics import RequestMetrics
from app.api.middleware import JsonBodyLimit, MeterRequests, RequestId
from app.settings import Limits

LIMITS = Limits(json_nbytes=100)  # pyright: ignore[reportCallIssue]


async def fail(_request: Request) -> PlainTextResponse:
    raise ZeroDivisionError("secret detail")


async def fail_later(_request: Request) -> StreamingResponse:
    async def chunks():
        yield b"half"
        raise ZeroDivisionError("secret detail")

    return StreamingResponse(chunks())


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(registry: CollectorRegistry) -> Starlette:
    methods = ["GET", "POST", "PUT"]
    app = Starlette(
        routes=[
            Route("/fail", fail),
            Route("/later", fail_later),
            Route("/api/{name}", count, methods=methods),
            Route("/lfs", count, methods=methods),
        ]
    )
    app.add_middleware(JsonBodyLimit, limits=LIMITS)
    app.add_middleware(MeterRequests, metrics=RequestMetrics(registry))
    app.add_middleware(RequestId)
    install_error_responses(app)
    return app


def send(app: Starlette, method: str, path: str, **options) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.request(method, path, **options)

    return asyncio.run(go())


def test_an_unforeseen_error_shows_its_id_and_nothing_else(app: Starlette, caplog):
    with caplog.at_level(logging.ERROR):
        answer = send(app, "GET", "/fail", headers={"X-Request-Id": "r1"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error, request id r1"}
    assert answer.headers["X-Request-Id"] == "r1"
    assert answer.headers["X-Error-Code"] == "InternalError"
    assert "secret detail" in caplog.text


def test_an_error_after_the_first_byte_cuts_the_answer_off(app: Starlette):
    async def go() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            await client.get("/later")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(go())


@pytest.mark.parametrize("sent", ["bad id", "x" * 300, "é"])
def test_ids_that_could_not_be_echoed_are_replaced(app: Starlette, sent: str):
    answer = send(app, "POST", "/api/x", headers={"X-Request-Id": sent.encode()})
    assert answer.headers["X-Request-Id"].isalnum()


@pytest.mark.parametrize(
    ("method", "path", "content_type", "allowed"),
    [
        ("POST", "/api/x", "application/json", False),
        ("POST", "/lfs", "application/vnd.git-lfs+json", False),
        ("POST", "/api/x", "application/x-www-form-urlencoded", False),
        ("PUT", "/api/x", "application/json; charset=utf-8", False),
        ("PUT", "/lfs", "application/x-www-form-urlencoded", True),
        ("POST", "/api/x", "application/x-ndjson", True),
        ("POST", "/api/x", "application/octet-stream", True),
    ],
)
def test_only_parsed_bodies_are_bounded(
    app: Starlette, method: str, path: str, content_type: str, allowed: bool
):
    answer = send(app, method, path, content=b"x" * 101, headers={"Content-Type": content_type})
    assert answer.status_code == (200 if allowed else 413)


def test_requests_are_counted_by_route_template(app: Starlette, registry: CollectorRegistry):
    send(app, "POST", "/api/one", content=b"abc")
    send(app, "POST", "/api/two", content=b"defg")
    send(app, "GET", "/nowhere/at/all")
    text = generate_latest(registry).decode()
    assert 'clade_http_requests_total{method="POST",route="/api/{name}",status="200"} 2.0' in text
    assert 'clade_http_received_bytes_total{route="/api/{name}"} 7.0' in text
    assert 'route="unrouted",status="404"} 1.0' in text
    assert "nowhere" not in text
