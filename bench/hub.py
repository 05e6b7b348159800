"""A hub in a process of its own, and the real clients in theirs, as a user would start them."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from bench.corpus import NAMESPACE
from bench.cpu import ended_cpu_s, process_cpu_s

START_S = 120.0
TOKEN = "hf_bench_0123456789abcdefghij"
PROGRAMS = Path(sys.executable).parent


class CommandFailed(Exception):
    """A client or the hub ended with an error; the message carries its output."""


@dataclass(frozen=True)
class Ran:
    """One finished command: wall and CPU seconds, and what it printed."""

    seconds: float
    cpu_s: float
    output: str


class Client:
    """The `hf` and `clade` commands with nothing set but endpoint and token.

    ``home`` keeps caches apart, so that no run is helped by an earlier one.
    """

    def __init__(self, url: str, token: str, home: Path) -> None:
        self.url, self.token, self.home = url, token, home

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "XDG_", "CLADE_"))
        }
        return kept | {
            "HOME": str(self.home),
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "NO_PROXY": "localhost,127.0.0.1",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }

    def run(self, *command: str | Path, **env: str) -> Ran:
        """Run a command to its end. Raises CommandFailed."""
        self.home.mkdir(parents=True, exist_ok=True)
        return run(command, self.environment | env)

    def upload(self, repo: str, folder: Path, lane: str = "xet") -> Ran:
        """`hf upload` of a file or folder through the Xet or the LFS lane."""
        path_in_repo = (folder.name,) if folder.is_file() else ()
        return self.run("hf", "upload", repo, folder, *path_in_repo, **_lane(lane))

    def download(self, repo: str, to: Path, *files: str) -> Ran:
        """`hf download` into a folder."""
        return self.run("hf", "download", repo, *files, "--local-dir", to)

    def pull(self, repo: str, to: Path, *options: str) -> tuple[Ran, dict[str, Any]]:
        """`clade pull` and the facts it prints with --json."""
        where = ("--endpoint", self.url, "--token", self.token)
        ran = self.run("clade", "pull", repo, "--to", to, *where, "--json", *options)
        return ran, json.loads(ran.output.strip().splitlines()[-1])


def _lane(lane: str) -> dict[str, str]:
    return {"HF_HUB_DISABLE_XET": "1"} if lane == "lfs" else {}


def run(command: tuple[str | Path, ...], environment: Mapping[str, str]) -> Ran:
    """Run a command, time it, and raise CommandFailed with its output if it fails."""
    started, used = time.perf_counter(), ended_cpu_s()
    done = subprocess.run(
        [str(part) for part in command],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise CommandFailed(
            f"{shown}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return Ran(seconds, ended_cpu_s() - used, done.stdout)


class LiveHub:
    """`clade serve` on a free port with a data directory of its own. Use as a context manager."""

    def __init__(
        self, root: Path, settings: Mapping[str, str] | None = None, *, makes_user: bool = True
    ) -> None:
        """``makes_user``: not for a second process of the same hub."""
        self.makes_user = makes_user
        self.data, self.root = root / "data", root
        self.settings = {f"CLADE_{name.upper()}": value for name, value in (settings or {}).items()}
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = root / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        port = self.url.rpartition(":")[2]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "clade", "serve", "--data", self.data, "--port", port],
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()
        if self.makes_user:
            self.clade("user", "create", NAMESPACE, "--token", TOKEN)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def client(self, home: str = "home") -> Client:
        """A client of this hub; clients of one ``home`` share their caches."""
        return Client(self.url, TOKEN, self.root / home)

    def clade(self, *arguments: str) -> str:
        """Run `clade … --data DIR` beside the server and return what it prints."""
        command = (PROGRAMS / "clade", *arguments, "--data", self.data)
        return run(command, self._environment()).output

    def http(self) -> httpx.Client:
        """A keep-alive HTTP client with the token."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=600, trust_env=False)

    def get(self, path: str) -> Any:
        """GET a JSON resource."""
        with self.http() as client:
            return client.get(path).raise_for_status().json()

    def settle(self) -> None:
        """Wait until every upload is encoded."""
        self.clade("jobs", "--wait")

    def is_encoded(self) -> bool:
        """Whether no upload waits for its encoding; better bases may still be looked for."""
        jobs = self.get("/api/clade/jobs?limit=200")["jobs"]
        return not any(
            job["kind"] == "encode" and job["state"] in {"queued", "running"} for job in jobs
        )

    def is_idle(self) -> bool:
        """Whether no job is queued or running."""
        counts = self.get("/api/clade/jobs")
        return not counts["queued"] and not counts["running"]

    def stats(self) -> dict[str, Any]:
        """The byte accounting over a fresh listing of the bucket (the HTTP route may reuse one)."""
        return json.loads(self.clade("stats", "--json"))

    def collect(self) -> None:
        """Delete replaced bytes now instead of after their grace period."""
        self.clade("gc", "--now")

    def cpu_s(self) -> float:
        """CPU seconds of the server so far."""
        assert self.process is not None
        return process_cpu_s(self.process.pid)

    def reset_peak(self) -> None:
        """Start a new measurement of the peak resident set (Linux)."""
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_nbytes(self) -> int:
        """Peak resident set of the server since start or ``reset_peak`` (VmHWM; Linux)."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLADE_", "HF_"))}
        return kept | self.settings

    def _wait_until_ready(self) -> None:
        assert self.process is not None

        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise CommandFailed(f"clade serve ended:\n{self.log.read_text()[-4000:]}")
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).is_success
            return False

        wait_until(ready, START_S)


def wait_until(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.05) -> None:
    """Poll ``condition`` until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s")
        time.sleep(pause_s)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def workspace(keep: Path | None = None) -> Iterator[Path]:
    """A temporary directory on the disk of the home (a RAM disk would flatter), removed after."""
    parent = keep or Path.home() / ".cache" / "clade"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
