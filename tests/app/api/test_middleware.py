"""What wraps every request: ids, the last resort, and honest counting."""

import asyncio
from collections.abc import MutableMapping

import httpx
import pytest
import structlog
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
            Route("/lfs/objects/{sealed}", count, methods=methods),
        ]
    )
    app.add_middleware(JsonBodyLimit, limits=LIMITS)
    app.add_middleware(MeterRequests, metrics=RequestMetrics(registry), logs=True)
    app.add_middleware(RequestId)
    install_error_responses(app)
    return app


def send(app: Starlette, method: str, path: str, **options) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.request(method, path, **options)

    return asyncio.run(go())


def test_an_unforeseen_error_shows_its_id_and_nothing_else(app: Starlette):
    with structlog.testing.capture_logs() as lines:
        answer = send(app, "GET", "/fail", headers={"X-Request-Id": "r1"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error, request id r1"}
    assert answer.headers["X-Request-Id"] == "r1"
    assert answer.headers["X-Error-Code"] == "InternalError"
    (error,) = [line for line in lines if line["log_level"] == "error"]
    assert error["exc_info"]


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
    assert "clade_http_requests_running 0.0" in text


def test_lines_of_a_request_carry_its_id_and_no_capability(app: Starlette):
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        send(
            app,
            "PUT",
            "/lfs/objects/s3cr3t?x=s3cr3t",
            content=b"abc",
            headers={"X-Request-Id": "r1"},
        )
        send(app, "GET", "/fail", headers={"X-Request-Id": "r2"})
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("http.request", "r1"),
        ("http.request", "r2"),
        ("http.unforeseen_error", "r2"),
    ]
    assert lines[0]["path"] == "/lfs/objects/…"
    assert (lines[0]["status"], lines[0]["received"], lines[0]["sent"]) == (200, 3, 1)
    assert lines[1]["status"] == 500
    assert "s3cr3t" not in str(lines)


def test_a_client_that_goes_away_in_its_body_is_no_fault(
    app: Starlette, registry: CollectorRegistry
):
    arriving = [
        {"type": "http.request", "body": b"hal", "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/x",
        "query_string": b"",
        "headers": [],
        "client": None,
    }

    async def receive() -> dict[str, object]:
        return arriving.pop(0)

    async def send_nothing(message: MutableMapping[str, object]) -> None:
        pytest.fail(f"answered with {message}")

    with structlog.testing.capture_logs() as lines:
        asyncio.run(app(scope, receive, send_nothing))
    assert [line["event"] for line in lines] == ["http.request"]
    text = generate_latest(registry).decode()
    assert 'clade_http_requests_total{method="POST",route="/api/{name}",status="499"} 1.0' in text
