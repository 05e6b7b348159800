"""429: who is refused, what he is told, and who is not made to pay for it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import parse_ratelimit_headers
from starlette.types import Message, Receive, Scope, Send

from app.accounts.users import create_user
from app.api.rate_limits import RateLimits, resource_of
from app.hub import Hub
from app.rates.local import LocalBuckets
from app.settings import Rates
from tests.fixtures.api import running_server


@contextmanager
def limited(hub: Hub, **rates: int) -> Iterator[str]:
    """A hub with these limits, and two users."""
    update = {"rates": hub.settings.rates.model_copy(update=rates)}
    hub.settings = hub.settings.model_copy(update=update)
    for name in ("alice", "bob"):
        create_user(hub, name, token=f"hf_{name}")
    with running_server(hub) as url:
        yield url


def get(url: str, path: str, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url + path, headers=headers)


def test_a_caller_is_told_when_to_come_back(hub: Hub):
    with limited(hub, api=3) as url:
        told = [get(url, "/api/whoami-v2", "hf_alice") for _ in range(4)]
        assert [each.status_code for each in told] == [200, 200, 200, 429]
        info = parse_ratelimit_headers(told[0].headers)
        assert info is not None
        assert (info.resource_type, info.remaining, info.limit, info.window_seconds) == (
            "api", 2, 3, 300)  # fmt: skip
        last = told[-1]
        info = parse_ratelimit_headers(last.headers)
        assert info is not None
        assert info.remaining == 0
        assert int(last.headers["Retry-After"]) == info.reset_in_seconds == 100
        assert last.headers["X-Error-Code"] == "RateLimited"
        assert "rates.api" in last.json()["error"]
        assert last.headers["X-Request-Id"]
        assert get(url, "/api/whoami-v2", "hf_bob").status_code == 200
        assert get(url, "/api/models").status_code == 200
        assert get(url, "/healthz").status_code == 200
        with pytest.raises(HfHubHTTPError) as refused:
            HfApi(endpoint=url, token="hf_alice").whoami()
        assert refused.value.response.status_code == 429


def test_nobody_guesses_tokens_for_long(hub: Hub):
    with limited(hub, failures=3) as url:
        guesses = [get(url, "/api/whoami-v2", f"hf_guess{n}").status_code for n in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        refused = get(url, "/api/whoami-v2", "hf_alice")
        assert refused.status_code == 429
        assert "rates.failures" in refused.json()["error"]


def test_addresses_are_counted_where_there_is_no_token(hub: Hub):
    with limited(hub, api_anonymous=2, pages_anonymous=1) as url:
        assert [get(url, "/api/models").status_code for _ in range(3)] == [200, 200, 429]
        assert [get(url, "/").status_code for _ in range(2)] == [200, 429]
        assert get(url, "/api/whoami-v2", "hf_alice").status_code == 200


@pytest.mark.parametrize(
    ("rate", "path", "token"),
    [
        ("api", "/api/models", "hf_alice"),
        ("api_anonymous", "/api/models", None),
        ("resolvers", "/alice/m/resolve/main/a", "hf_alice"),
        ("resolvers_anonymous", "/alice/m/resolve/main/a", None),
        ("pages", "/", "hf_alice"),
        ("pages_anonymous", "/", None),
    ],
)
def test_each_rate_is_named_where_it_is_reached(hub: Hub, rate: str, path: str, token: str | None):
    with limited(hub, **{rate: 1}) as url:
        first, second = (get(url, path, token) for _ in range(2))
    assert first.status_code != 429
    assert second.status_code == 429
    assert re.search(rf"rates\.{rate}\b", second.text)


def test_without_a_limit_nothing_is_counted(hub: Hub):
    with limited(hub, api_anonymous=0) as url:
        answer = get(url, "/api/models")
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/alice/m/resolve/main/a", "resolvers"),
        ("/datasets/alice/m/raw/main/a", "resolvers"),
        ("/lfs/objects/x", "resolvers"),
        ("/cas/files/v2/reconstructions/x", "resolvers"),
        ("/api/clade/objects/x", "resolvers"),
        ("/api/models/alice/m/tree/main/resolve/x", "api"),
        ("/alice/m.git/info/lfs/objects/batch", "api"),
        ("/alice/m/git-upload-pack", "api"),
        ("/alice/m", "pages"),
    ],
)
def test_what_is_counted_as_what(path: str, resource: str):
    assert resource_of(path) == resource


@pytest.mark.parametrize(
    ("method", "path", "setting"),
    [
        ("PUT", "/lfs/objects/x", "uploads"),
        ("POST", "/cas/default/v1/xorbs/default/x", "uploads"),
        ("POST", "/api/models/alice/m/commit/main", "uploads"),
        ("POST", "/alice/m.git/git-receive-pack", "uploads"),
        ("GET", "/alice/m/resolve/main/a", "downloads"),
        ("GET", "/api/models", "in_flight"),
    ],
)
def test_transfers_of_a_kind_are_bounded_at_once(method: str, path: str, setting: str):
    statuses: list[int] = []

    async def ask() -> None:
        begun, go_on = anyio.Event(), anyio.Event()

        async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
            begun.set()
            await go_on.wait()

        rates = Rates(**{setting: 1})  # pyright: ignore[reportCallIssue]
        limits = RateLimits(slow, rates, LocalBuckets())

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            else:
                assert f"rates.{setting}".encode() in message["body"]

        scope = {"type": "http", "method": method, "path": path, "headers": [], "client": None}
        async with anyio.create_task_group() as group:
            group.start_soon(limits, scope, None, send)
            await begun.wait()
            await limits(scope, None, send)  # type: ignore[arg-type]
            go_on.set()
        await limits(scope, None, send)  # type: ignore[arg-type]

    anyio.run(ask)
    assert statuses == [429]
