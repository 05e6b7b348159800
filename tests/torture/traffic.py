"""Clients that write and read over HTTP without end, and remember what they were told.

A path is written once, so its bytes never change: whoever reads it, whenever, must get them. A
request that got no answer is sent again, as clients do; only a bug of the hub, an answer that
cannot be right, ends the traffic.
"""

import base64
import hashlib
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

import httpx

from tests.crash.samples import BASE, random_bytes
from tests.fixtures.models import tuned, weight_file
from tests.fixtures.xorbs import build_shard, build_xorb, file_block
from tests.torture.budget import Summary
from tests.torture.stack import TOKEN

AGAIN = {408, 425, 429, 502, 503, 504}
"""Answers that ask for another try."""

ANEW = {200, 403, 404, 409}
"""Answers to bytes of an upload; all but the first mean: ask for links again.

404 and 409: it was collected meanwhile. 403: the link has expired, as its client slept for longer.
"""

KNOWN = 12
"""Fine-tunes that are sent again and again: while they are here, going and gone."""

SQUASH = {"message": "one"}

LFS = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


class Gone(Exception):
    """The traffic ended while a request waited for an answer."""


class Traffic:
    """Writers and readers on threads of their own, until left."""

    def __init__(
        self, url: Callable[[], str], summary: Summary, *, writers: int, readers: int, seed: int
    ) -> None:
        self.acknowledged: dict[tuple[str, str], bytes] = {}
        """Repository and path -> bytes."""
        self.faults: list[str] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)
        """How long answers took, by kind of request."""
        self._url, self._summary = url, summary
        self._lock, self._stopping = threading.Lock(), threading.Event()
        draws = random.Random(seed)
        self._threads = [
            threading.Thread(target=self._guard, args=(work, draws.randrange(1 << 32), number))
            for work, count in ((self._write, writers), (self._read, readers))
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Nothing impossible was answered so far."""
        assert not self.faults, self.faults

    def _guard(self, work: Callable[[random.Random, int], None], seed: int, number: int) -> None:
        try:
            work(random.Random(seed), number)
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001
            self.faults.append(f"{type(error).__name__}: {error}")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        with self._lock:
            self.seconds[what].append(time.monotonic() - begun)

    def _count(self, what: str) -> None:
        with self._lock:
            self._summary.count(what)

    # --- writers ---

    def _write(self, draws: random.Random, number: int) -> None:
        repo = f"alice/w{number}"
        with self._client() as client:
            self._send(client, "POST", "/api/repos/create", ok={200, 409}, json={"name": repo[6:]})
            sent = 0
            while not self._stopping.is_set():
                sent += 1
                self._one_change(client, draws, repo, f"f{sent}.safetensors")

    def _one_change(self, client: httpx.Client, draws: random.Random, repo: str, path: str) -> None:
        data = self._data(draws)
        match draws.randrange(10):
            case 0:
                self._send(client, "POST", f"/api/models/{repo}/super-squash/main", json=SQUASH)
                self._count("squashes")
            case 1:
                self._remove(client, draws, repo)
            case 2:
                self._commit(client, repo, path, data, inline=True)
            case 3 | 4:
                self._send_xet(client, repo, data)
                self._commit(client, repo, path, data)
            case _:
                self._send_lfs(client, repo, data)
                self._commit(client, repo, path, data)

    def _data(self, draws: random.Random) -> bytes:
        kind = draws.random()
        if kind < 0.3:
            return random_bytes(draws.randrange(1 << 30), draws.randrange(100, 150_000))
        seed = draws.randrange(KNOWN) if kind < 0.9 else draws.randrange(KNOWN, 1 << 30)
        return weight_file(tuned(BASE, seed, 5e-4))

    def _send_lfs(self, client: httpx.Client, repo: str, data: bytes) -> None:
        oid = hashlib.sha256(data).hexdigest()
        for _ in range(20):
            question = {
                "operation": "upload",
                "transfers": ["basic", "multipart"],
                "hash_algo": "sha256",
                "objects": [{"oid": oid, "size": len(data)}],
            }
            url = f"/{repo}.git/info/lfs/objects/batch"
            answer = self._send(client, "POST", url, json=question, headers=LFS).json()
            actions = answer["objects"][0].get("actions")
            if actions is None:
                return
            upload = actions["upload"]
            if self._send_object(client, upload["href"], upload.get("header", {}), oid, data):
                return
        raise AssertionError("an upload never gets through")

    def _send_object(
        self, client: httpx.Client, href: str, header: dict[str, str], oid: str, data: bytes
    ) -> bool:
        """False where the upload has to begin anew."""
        if "chunk_size" not in header:
            return self._send(client, "PUT", href, ok=ANEW, content=data).is_success
        nbytes, parts = int(header["chunk_size"]), []
        for number in range(1, len(header)):
            part = data[(number - 1) * nbytes : number * nbytes]
            url = header[f"{number:05}"]
            answer = self._send(client, "PUT", url, ok=ANEW, content=part)
            if not answer.is_success:
                return False
            parts.append({"partNumber": number, "etag": answer.headers["etag"].strip('"')})
        done = self._send(
            client,
            "POST",
            href,
            ok=ANEW | {400},
            json={"oid": oid, "parts": parts},
            headers=LFS,
        )
        return done.is_success

    def _send_xet(self, client: httpx.Client, repo: str, data: bytes) -> None:
        built = build_xorb(data)
        token = self._send(client, "GET", f"/api/models/{repo}/xet-write-token/main").json()
        login = {"Authorization": f"Bearer {token['accessToken']}"}
        cas = f"{self._url()}/{token['casUrl'].split('/', 3)[3]}"
        shard = build_shard(file_block([(built, 0, len(built.chunks))]))
        for _ in range(20):
            url = f"{cas}/v1/xorbs/default/{built.text}"
            self._send(client, "POST", url, ok={200, 409}, content=built.stored, headers=login)
            answer = self._send(
                client, "POST", f"{cas}/v1/shards", ok={200, 404, 409}, content=shard, headers=login
            )
            if answer.is_success:
                return
        raise AssertionError("a shard never gets through")

    def _commit(
        self, client: httpx.Client, repo: str, path: str, data: bytes, *, inline: bool = False
    ) -> None:
        oid = hashlib.sha256(data).hexdigest()
        value = {"path": path, "algo": "sha256", "oid": oid, "size": len(data)}
        if inline:
            content = base64.b64encode(data).decode()
            value = {"path": path, "encoding": "base64", "content": content}
        body = self._change("file" if inline else "lfsFile", value)
        for _ in range(20):
            url = f"/api/models/{repo}/commit/main"
            with self._timed("commits"):
                answer = self._send(client, "POST", url, ok={200, 422}, content=body)
            if answer.is_success:
                break
            self._send_lfs(client, repo, data)  # its lease ran out: send it again
        assert answer.is_success, answer.text
        with self._lock:
            self.acknowledged[repo, path] = data
        self._count("commits")

    def _remove(self, client: httpx.Client, draws: random.Random, repo: str) -> None:
        with self._lock:
            paths = sorted(path for name, path in self.acknowledged if name == repo)
            if len(paths) < 3:
                return
            path = draws.choice(paths)
            del self.acknowledged[repo, path]
        body = self._change("deletedFile", {"path": path})
        self._send(client, "POST", f"/api/models/{repo}/commit/main", ok={200, 404}, content=body)
        self._count("removals")

    def _change(self, kind: str, value: dict[str, object]) -> str:
        lines = [{"key": "header", "value": {"summary": "a change"}}, {"key": kind, "value": value}]
        return "\n".join(map(json.dumps, lines))

    # --- readers ---

    def _read(self, draws: random.Random, _number: int) -> None:
        with self._client() as client:
            while not self._stopping.is_set():
                with self._lock:
                    places = list(self.acknowledged.items())
                if not places:
                    time.sleep(0.05)
                    continue
                place, data = draws.choice(places)
                self.read_one(client, draws, place, data)

    def read_one(
        self, client: httpx.Client, draws: random.Random, place: tuple[str, str], data: bytes
    ) -> None:
        """A whole file or a range of it, which must be right unless it was removed meanwhile."""
        start, stop = 0, len(data)
        headers: dict[str, str] = {}
        if draws.random() < 0.5:
            start = draws.randrange(len(data))
            stop = draws.randrange(start, len(data)) + 1
            headers["Range"] = f"bytes={start}-{stop - 1}"
        url = f"/{place[0]}/resolve/main/{place[1]}"
        with self._timed("reads"):
            answer = self._send(client, "GET", url, ok={200, 206, 404}, headers=headers)
        if answer.status_code == 404:
            with self._lock:
                assert place not in self.acknowledged, f"{place} is gone"
            return
        assert answer.content == data[start:stop], f"{place} [{start}, {stop}): other bytes"
        self._count("reads")

    @contextmanager
    def reading(self) -> Iterator[Callable[[tuple[str, str], bytes], None]]:
        """A reader of whole files, once the traffic has ended."""
        self._stopping.clear()
        whole = random.Random()
        whole.random = lambda: 1.0  # type: ignore[method-assign]
        with self._client() as client:
            yield lambda place, data: self.read_one(client, whole, place, data)

    # --- requests ---

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(headers=headers, timeout=60, trust_env=False, follow_redirects=True)

    def _send(
        self,
        client: httpx.Client,
        method: str,
        url: str,
        ok: set[int] | None = None,
        **more: object,
    ) -> httpx.Response:
        """The answer, asked for until there is one. Raises AssertionError for one that is wrong."""
        while True:
            if self._stopping.is_set():
                raise Gone
            with suppress(httpx.TransportError):
                address = url if url.startswith("http") else self._url() + url
                answer = client.request(method, address, **more)  # type: ignore[arg-type]
                if answer.status_code not in AGAIN:
                    break
                self._count(f"answers {answer.status_code}")
            time.sleep(0.03)
        expected = answer.is_success or answer.status_code in (ok or ())
        assert expected, f"{method} {url}: {answer.status_code} {answer.text[:500]}"
        return answer
