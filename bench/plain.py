"""The plainest hub that the real `hf` client accepts: the peer of the transfer benches.

It checks nothing: uploads are written to a file as they arrive; downloads come from nginx where it
is installed, else by sendfile(2) from here. What a client achieves against it is the client's own
limit. It also counts what hf-xet sends, which is what a Xet store would hold.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.corpus import CorpusFile, list_files
from bench.cpu import process_cpu_s
from bench.hub import free_port, wait_until

PIECE_NBYTES = 1 << 20
COMMIT = "c" * 40
LFS_NBYTES = 1 << 20


@dataclass(frozen=True)
class StaticServer:
    """An nginx."""

    url: str
    pid: int


@dataclass
class PlainHub:
    """What the server holds: folders to serve, a directory for uploads, and its counters."""

    sink: Path
    folders: dict[str, Path] = field(default_factory=dict)
    url: str = ""
    static: StaticServer | None = None
    xorb_nbytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _listings: dict[str, dict[str, CorpusFile]] = field(default_factory=dict)

    def files(self, repo: str) -> dict[str, CorpusFile]:
        """The files of a served folder; digests are taken on the first question."""
        if repo not in self._listings:
            self._listings[repo] = {file.path: file for file in list_files(self.folders[repo])}
        return self._listings[repo]

    def cpu_s(self) -> float:
        """CPU seconds so far of what serves: this process, and nginx."""
        return time.process_time() + (process_cpu_s(self.static.pid) if self.static else 0.0)

    def warm(self) -> None:
        """Take all digests now, so that no measurement pays for them."""
        for repo in self.folders:
            self.files(repo)


@contextlib.contextmanager
def serve_static(directory: Path, folders: dict[str, Path]) -> Iterator[StaticServer | None]:
    """An nginx that serves the folders under their names; None where nginx is missing."""
    if find_nginx() is None:
        yield None
        return
    port = free_port()
    places = "".join(f"location /{name}/ {{ alias {at}/; }}\n" for name, at in folders.items())
    server = f"server {{ listen 127.0.0.1:{port};\n{places}}}"
    with run_nginx(directory, server, port) as pid:
        yield StaticServer(f"http://127.0.0.1:{port}", pid)


def find_nginx() -> str | None:
    """Path of nginx; None where it is missing."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextlib.contextmanager
def run_nginx(directory: Path, server: str, port: int) -> Iterator[int]:
    """An nginx with this ``server`` block, which listens on the port; its process id."""
    nginx = find_nginx()
    if nginx is None:
        raise SystemExit("this bench needs nginx: apt-get install nginx-light")
    logs = f"access_log off; error_log {directory}/nginx.log;"
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/nginx.pid; worker_processes 2; user root;\n"
        f"error_log {directory}/nginx.log;\nevents {{}}\n"
        f"http {{ sendfile on; tcp_nopush on; {logs} {temporary}\n{server} }}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen([nginx, "-p", directory, "-c", directory / "nginx.conf"])
    try:
        wait_until(lambda: _accepts(port), timeout_s=30)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def serve_plain(
    sink: Path, folders: dict[str, Path] | None = None, static: StaticServer | None = None
) -> Iterator[PlainHub]:
    """Run a plain hub on a free port until the block ends."""
    sink.mkdir(parents=True, exist_ok=True)
    hub = PlainHub(sink, folders or {}, static=static)
    hub.warm()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: PlainHub

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def do_HEAD(self) -> None:
        self._resolve(with_body=False)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/.+", path):
            self._json([_entry(file) for file in self.hub.files(match[1]).values()])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+)?", path):
            siblings = [{"rfilename": name} for name in self.hub.files(match[1])]
            self._json({"id": match[1], "sha": COMMIT, "private": False, "siblings": siblings})
        elif "/xet-write-token/" in path:
            self._json({"accessToken": "plain", "exp": 1 << 33, "casUrl": self.hub.url})
        elif path.startswith("/v1/chunks/"):
            self._json({}, status=404)
        else:
            self._resolve(with_body=True)

    def do_PUT(self) -> None:
        self._take(self.hub.sink / self.path.rsplit("/", 1)[-1])
        self._json({})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/v1/xorbs/"):
            with self.hub.lock:
                self.hub.xorb_nbytes += int(self.headers["Content-Length"])
            self._take(self.hub.sink / path.rsplit("/", 1)[-1])
            self._json({"was_inserted": True})
            return
        body = self._body()
        if path == "/api/repos/create":
            name = "/".join(filter(None, (body.get("organization"), body["name"])))
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif "/preupload/" in path:
            self._json({"files": [_preupload(file) for file in body["files"]]})
        elif path.endswith("/info/lfs/objects/batch"):
            self._json({"transfer": "basic", "objects": [self._slot(o) for o in body["objects"]]})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/.+", path):
            url = f"{self.hub.url}/{match[1]}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        elif path == "/v1/shards":
            self._json({"result": 1})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        else:
            self._json({}, status=404)

    def _slot(self, wanted: dict) -> dict:
        upload = {"href": f"{self.hub.url}/sink/{wanted['oid']}"}
        return {"oid": wanted["oid"], "size": wanted["size"], "actions": {"upload": upload}}

    def _resolve(self, *, with_body: bool) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path.partition("?")[0])
        file = self.hub.files(match[1]).get(match[2]) if match else None
        if match is None or file is None:
            self._json({}, status=404)
            return
        start, stop = _range(self.headers.get("Range"), file.nbytes)
        if with_body and self.hub.static is not None:
            self._redirect(f"{self.hub.static.url}/{match[1]}/{match[2]}")
            return
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(stop - start))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.nbytes}")
        self.send_header("ETag", f'"{file.sha256}"')
        self.send_header("X-Linked-ETag", f'"{file.sha256}"')
        self.send_header("X-Linked-Size", str(file.nbytes))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if with_body:
            with (self.hub.folders[match[1]] / file.path).open("rb") as stream:
                self.connection.sendfile(stream, start, stop - start)

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _take(self, path: Path) -> None:
        """Write the request's body to a file."""
        left = int(self.headers["Content-Length"])
        with path.open("wb") as stream:
            while left:
                piece = self.rfile.read(min(PIECE_NBYTES, left))
                if not piece:
                    raise ConnectionError("the client went away")
                stream.write(piece)
                left -= len(piece)

    def _body(self) -> dict:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with contextlib.suppress(ValueError):
            return json.loads(raw)
        return {}

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(file: CorpusFile) -> dict:
    entry = {"type": "file", "path": file.path, "size": file.nbytes, "oid": file.sha256[:40]}
    if file.nbytes >= LFS_NBYTES:
        entry["lfs"] = {"oid": file.sha256, "size": file.nbytes, "pointerSize": 135}
    return entry


def _preupload(file: dict) -> dict:
    mode = "lfs" if file["size"] >= LFS_NBYTES else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


def _range(header: str | None, nbytes: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if match is None:
        return 0, nbytes
    return int(match[1]), min(nbytes, int(match[2]) + 1 if match[2] else nbytes)
