"""A stranger with a valid token learns nothing of private bytes, by any route.

Two hubs differ in one thing: what alice's private repository holds. In the one it is the very model
that bob and carol, who may not see it, have guessed; in the other it is something else of the same
shape. Bob puts his guess into a public repository, carol hers into a private one; both ask every
route of the table of :mod:`tests.fixtures.asks`, about alice's repositories and about their own.
All that they are told must be the same on both hubs: status, headers and body, of seals the length.
A route that is not in that table fails a test of its own.
"""

import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from app.clock import ManualClock
from app.jobs.runner import drain
from app.settings import Settings
from app.tasks import HANDLERS
from tests.fixtures.api import BOB_TOKEN
from tests.fixtures.asks import ASKS
from tests.fixtures.models import base_weights, tuned, weight_file
from tests.fixtures.seeded import CAROL_TOKEN, SeededHub, seeded_hub

SHAPES = {"embed_tokens.weight": (600, 64), "layers.0.up.weight": (256, 64), "norm": (64,)}
GUESS = weight_file(tuned(base_weights(5, SHAPES), 6))
OTHER = weight_file(base_weights(9, SHAPES))
SMALL = b"a private configuration, as long as a card is"
SECRET = b"the same on both hubs, so are seals"

_SEAL = re.compile(r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{22}")
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{43}")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_ALWAYS_NEW = {"x-request-id", "date", "ratelimit", "content-security-policy", "server"}


def told(answer: httpx.Response) -> str:
    """Everything that an answer says, without what differs between any two requests."""
    headers = {k: v for k, v in answer.headers.items() if k not in _ALWAYS_NEW}
    head = f"{answer.status_code} {json.dumps(headers, sort_keys=True)}\n"
    text = answer.content.decode("utf-8", "backslashreplace")
    text = text.replace(answer.headers.get("x-request-id", "-"), "<request>")
    text = re.sub(r'nonce=?"?[\w-]+', "nonce", head + text)
    text = re.sub(r'"id":"[0-9a-f]{16}"', '"id":"<job>"', text)
    text = re.sub(r"\b(file|ftjob|ftckpt)-[A-Za-z0-9]{24}\b", r"\1-<name>", text)
    return _PORT.sub("<hub>", _TOKEN.sub("<token>", _SEAL.sub(_length, text)))


def _length(found: re.Match[str]) -> str:
    """All that anybody can read of a seal."""
    return f"<seal of {len(found[0])}>"


def _commit(path: str, data: bytes) -> bytes:
    file = {"path": path, "algo": "sha256", "oid": hashlib.sha256(data).hexdigest()}
    header = {"key": "header", "value": {"summary": "guess"}}
    return "\n".join(map(json.dumps, (header, {"key": "lfsFile", "value": file}))).encode()


def attempt(seeded: SeededHub, who: str, token: str) -> dict[str, str]:
    """Somebody sends the guess to a repository of his own, in every way that could tell of it."""
    http, private = seeded.live.http(token), who == "carol"
    seen = {
        "create": http.post("/api/repos/create", json={"name": f"{who}/guess", "private": private})
    }
    wanted = {"oid": hashlib.sha256(GUESS).hexdigest(), "size": len(GUESS)}
    batch = {"operation": "upload", "objects": [wanted], "transfers": ["basic"]}
    repo = f"{who}/guess"
    commit = f"/api/models/{repo}/commit/main"
    for turn in ("before", "after"):
        seen[f"commit {turn}"] = http.post(commit, content=_commit("m.safetensors", GUESS))
        seen[f"download {turn}"] = http.post(
            f"/{repo}.git/info/lfs/objects/batch", json=batch | {"operation": "download"}
        )
        answer = http.post(f"/{repo}.git/info/lfs/objects/batch", json=batch)
        seen[f"batch {turn}"] = answer
        actions = answer.json()["objects"][0].get("actions", {})
        if turn == "before":
            seen["put"] = http.put(actions["upload"]["href"], content=GUESS)
        seen[f"jobs {turn}"] = http.get("/api/clade/jobs")
        seen[f"storage {turn}"] = http.get(f"/api/clade/models/{repo}/storage/main")
    seen["commit named"] = http.post(commit, content=_commit("again.safetensors", GUESS))
    return {f"{who}: {what}": told(answer) for what, answer in seen.items()}


def everything_told(seeded: SeededHub, secret: bytes) -> dict[str, str]:
    """What strangers are told on a hub where alice keeps ``secret`` to herself."""
    hub = seeded.live.hub
    seeded._upload("alice/private", "secret.safetensors", secret)
    seeded._upload("alice/private", "secret.bin", SMALL if secret is GUESS else SMALL[::-1])
    drain(hub, HANDLERS)
    strangers = {"carol": CAROL_TOKEN, "bob": BOB_TOKEN}
    seen: dict[str, str] = {}
    for who, token in strangers.items():
        seen |= attempt(seeded, who, token)
    drain(hub, HANDLERS)
    for ask in ASKS:
        for who, token in strangers.items():
            mine = {"namespace": who, "name": "guess", "path": "m.safetensors"}
            for values in [{}, {"name": "private"}, mine] if ask.names_repo else [{}]:
                answer = seeded.send(ask, token=token if ask.token else "", **values)
                seen[f"{who}: {ask.route} {values}"] = told(answer)
    return seen


def _apart(one: str, other: str) -> tuple[str, str]:
    """Where two answers begin to differ; in their bodies, if they do."""
    bodies = one.partition("\n")[2], other.partition("\n")[2]
    one, other = (one, other) if bodies[0] == bodies[1] else bodies
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return one[max(0, at - 60) : at + 60], other[max(0, at - 60) : at + 60]


@pytest.fixture
def both(tmp_path: Path, migrated_sqlite: bytes) -> list[dict[str, str]]:
    """What strangers are told on the hub that holds their guess, and on the one that does not."""
    worlds = []
    for number, secret in enumerate((GUESS, OTHER)):
        data = tmp_path / str(number)
        data.mkdir()
        (data / "hub.sqlite").write_bytes(migrated_sqlite)
        settings = Settings(data=data, metrics_from="10.0.0.1")  # pyright: ignore[reportCallIssue]
        with seeded_hub(settings, data, clock=ManualClock(), secret=SECRET) as seeded:
            worlds.append(everything_told(seeded, secret))
    return worlds


def test_a_stranger_is_told_the_same_whatever_is_private(both: list[dict[str, str]]):
    with_it, without = both
    assert with_it.keys() == without.keys()
    differing = {
        what: _apart(with_it[what], without[what])
        for what in with_it
        if with_it[what] != without[what]
    }
    assert differing == {}
    everything = "".join(with_it.values())
    assert "secret.safetensors" not in everything
    assert SMALL.decode() not in everything
    for who in ("bob", "carol"):
        assert "upload" in with_it[f"{who}: batch before"]
        assert with_it[f"{who}: commit before"].startswith("422")
        assert with_it[f"{who}: commit named"].startswith("200")
