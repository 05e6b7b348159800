"""What proxies say of a request is believed of those that are trusted, and only of them."""

from collections.abc import Mapping

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.api.forwarded import Forwarded
from app.api.routing import QuotedPath
from app.settings import Settings

TOLD = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "hub.example.com",
    "X-Forwarded-For": "203.0.113.9",
}


def echo(request: Request) -> JSONResponse:
    assert request.client
    return JSONResponse(
        {
            "base": str(request.base_url),
            "client": request.client.host,
            "revision": request.path_params["revision"],
            "raw": request.scope["raw_path"].decode(),
        }
    )


async def ask(
    path: str = "/api/refs%2Fpr%2F1",
    headers: Mapping[str, str] = TOLD,
    *,
    peer: str = "127.0.0.1",
    **settings: str,
) -> dict[str, str]:
    app = Starlette(routes=[Route("/api/{revision:quoted}", echo)])
    app.add_middleware(QuotedPath)
    app.add_middleware(Forwarded, settings=Settings.model_validate(settings))
    transport = httpx.ASGITransport(app, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://inside:8000") as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, path
    return answer.json()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


async def test_a_trusted_proxy_is_believed():
    told = await ask()

    assert told["base"] == "https://hub.example.com/"
    assert told["client"] == "203.0.113.9"


@pytest.mark.parametrize("peer", ["203.0.113.1", "10.0.0.1", "::2", "testclient"])
async def test_a_stranger_is_not(peer: str):
    told = await ask(headers=TOLD | {"X-Forwarded-Prefix": "/evil"}, peer=peer)

    assert told["base"] == "http://inside:8000/"
    assert told["client"] == peer


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "192.0.2.1, 10.0.0.1", "*"])
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
async def test_trusted_networks_are_a_setting(trusted: str, peer: str):
    assert (await ask(peer=peer, trusted_proxies=trusted))["base"] == "https://hub.example.com/"


async def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours():
    hops = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.0.0.2"}

    told = await ask(headers=hops, peer="10.0.0.1", trusted_proxies="10.0.0.0/8")

    assert told["client"] == "203.0.113.9"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Host": "a b"},
        {"X-Forwarded-Host": "evil.example/path?"},
        {"X-Forwarded-For": "nonsense"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a%2F"},
        {"X-Forwarded-Prefix": "/"},
        {"X-Forwarded-Prefix": ""},
    ],
)
async def test_nonsense_is_passed_over(headers: dict[str, str]):
    told = await ask(headers=headers)

    assert (told["base"], told["client"]) == ("http://inside:8000/", "127.0.0.1")


@pytest.mark.parametrize("path", ["/hub/api/refs%2Fpr%2F1", "/api/refs%2Fpr%2F1"])
async def test_the_prefix_of_the_public_url_may_be_taken_off_or_not(path: str):
    told = await ask(path, {}, public_url="https://example.com/hub/")

    assert told["revision"] == "refs/pr/1"
    assert told["raw"] == "/hub/api/refs%2Fpr%2F1"


async def test_a_proxy_says_what_prefix_it_took_off():
    told = await ask(headers=TOLD | {"X-Forwarded-Prefix": "/models/hub"})

    assert told["base"] == "https://hub.example.com/models/hub/"
    assert told["revision"] == "refs/pr/1"


@pytest.mark.parametrize(
    "settings",
    [
        {"trusted_proxies": "nginx"},
        {"trusted_proxies": "10.0.0.0/33"},
        {"public_url": "hub.example.com"},
        {"public_url": "https://hub.example.com/a?b"},
        {"public_url": "https://user@hub.example.com"},
    ],
)
async def test_bad_settings_name_their_field(settings: dict[str, str]):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Settings.model_validate(settings)
