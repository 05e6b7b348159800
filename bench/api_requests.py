"""What the API bench asks, with something drawn by chance where a cache could flatter."""

import base64
import http.client
import json
import random
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlencode, urlsplit

from bench.corpus import NAMESPACE
from bench.crowd import repo_name
from bench.hub import TOKEN, LiveHub

API = "/api/models"
WIDE = f"{NAMESPACE}/wide"
WIDE_FILES = 10_000
COMMITS = f"{NAMESPACE}/commits"

Request = tuple[str, str, bytes, str]
"""Method, target, body and its type."""

Ask = Callable[[random.Random], Request]


def requests(repos: int) -> dict[str, Ask]:
    """Requests that read, by name; ``repos``: how many the crowd has."""

    def get(target: Callable[[random.Random], str], method: str = "GET") -> Ask:
        return lambda chance: (method, target(chance), b"", "")

    def paths(chance: random.Random) -> Request:
        chosen = [("paths", wide_path(chance.randrange(WIDE_FILES))) for _ in range(100)]
        body = urlencode(chosen).encode()
        return "POST", f"{API}/{WIDE}/paths-info/main", body, "application/x-www-form-urlencoded"

    def public(chance: random.Random) -> str:
        number = chance.randrange(repos)
        return repo_name(number - 1 if number % 7 == 3 else number)

    return {
        "healthz": get(lambda _: "/healthz"),
        "whoami": get(lambda _: "/api/whoami-v2"),
        "model info": get(lambda chance: f"{API}/{public(chance)}"),
        "tree of 10,000, a page of 1,000": get(lambda _: f"{API}/{WIDE}/tree/main?recursive=true"),
        "paths-info of 100": paths,
        "resolve HEAD": get(
            lambda chance: f"/{WIDE}/resolve/main/{wide_path(chance.randrange(WIDE_FILES))}", "HEAD"
        ),
        "search, rare": get(lambda chance: f"{API}?search=net{chance.randrange(repos)}&limit=20"),
        "search, common": get(lambda _: f"{API}?search=net&filter=license:mit&limit=20"),
        "list by likes": get(lambda _: f"{API}?sort=likes&limit=20"),
    }


def commit_of(files: int, seed: int) -> Request:
    """A commit of small files that nobody has committed before."""
    named = {f"c{seed}/{at:04}.txt": f"file {at} of commit {seed}".encode() for at in range(files)}
    body = _commit_body(f"{files} files, {seed}", named.items())
    return "POST", f"{API}/{COMMITS}/commit/main", body, "application/x-ndjson"


def make_repos(hub: LiveHub) -> None:
    """A repository of 10,000 files in a hundred directories, and one to commit to."""
    with hub.http() as client:
        for name in (WIDE, COMMITS):
            body = {"name": name.rpartition("/")[2], "organization": NAMESPACE, "type": "model"}
            client.post("/api/repos/create", json=body).raise_for_status()
        for start in range(0, WIDE_FILES, 2_000):
            files = ((wide_path(at), b"%d" % at) for at in range(start, start + 2_000))
            body = _commit_body("files", files)
            client.post(f"{API}/{WIDE}/commit/main", content=body).raise_for_status()
    hub.settle()


def wide_path(number: int) -> str:
    """Where the file of this number is in the wide repository."""
    return f"part-{number // 100:02}/file-{number % 100:02}.json"


class Connection:
    """A keep-alive connection that costs the bench as little as Python allows."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def send(self, request: Request) -> float:
        """Seconds until the answer was read. Raises AssertionError for a refusal."""
        method, target, body, media_type = request
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if media_type:
            headers["Content-Type"] = media_type
        started = time.perf_counter()
        self._http.request(method, target, body or None, headers)
        answer = self._http.getresponse()
        said = answer.read()
        assert answer.status < 400, f"{method} {target}: {answer.status} {said[:200]!r}"
        return time.perf_counter() - started


def _commit_body(summary: str, files: Iterable[tuple[str, bytes]]) -> bytes:
    lines: list[dict] = [{"key": "header", "value": {"summary": summary}}]
    for path, data in files:
        value = {
            "path": path,
            "content": base64.b64encode(data).decode(),
            "encoding": "base64",
        }
        lines.append({"key": "file", "value": value})
    return "\n".join(map(json.dumps, lines)).encode()
