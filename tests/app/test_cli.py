"""The `clade` command as people type it: what it prints, where, and its exit status."""

import contextlib
import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import structlog
from sqlalchemy import update

from app.accounts.tokens import authenticate
from app.cli import main
from app.clock import SystemClock
from app.db.tables import Encoding
from app.errors import Unauthorized
from app.hub import open_hub
from app.serve import first_token
from app.settings import Settings
from tests.fixtures.api import LiveHub
from tests.fixtures.models import ModelHub, base_weights
from tests.fixtures.server import Server


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def facts(self) -> dict:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line that says what went wrong."""
        assert (self.status, self.out) == (1, ""), self
        [line] = self.err.splitlines()
        assert line.startswith("clade: ")
        return line


Clade = Callable[..., Done]


@pytest.fixture
def clade(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Clade]:
    """Runs the command in this process; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # A hub on a thread beside the command logs past what the command is seen to print.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["clade", *map(str, arguments)])
        capsys.readouterr()
        status: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        assert isinstance(status, int)
        return Done(status, captured.out, captured.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def data(tmp_path: Path, clade: Clade) -> Path:
    """Data directory of a hub with the user ann."""
    assert clade("user", "create", "ann", "--token", "hf_ann", "--data", tmp_path / "hub").out
    return tmp_path / "hub"


@pytest.fixture
def pushed(models: ModelHub) -> Path:
    """Data directory of a hub that holds a model."""
    models.hub.clock = SystemClock()
    models.push("ann/toy", base_weights())
    return models.hub.settings.data


def principal_of(data: Path, token: str):
    with contextlib.closing(open_hub(Settings(data=data))) as hub, hub.db.read() as session:
        return authenticate(session, token)


def test_seeding_users_may_be_repeated(clade: Clade, tmp_path: Path) -> None:
    seed = [
        *("user", "create", "__DUMMY_HUB_USER__", "--token", "hf_94wBhPGp", "--admin"),
        *("--org", "valid_org", "--org", "other-org", "--data", tmp_path / "hub", "--json"),
    ]

    first, second = clade(*seed), clade(*seed)

    assert first.status == second.status == 0
    assert first.facts == second.facts == {"name": "__DUMMY_HUB_USER__", "token": "hf_94wBhPGp"}
    seeded = principal_of(tmp_path / "hub", "hf_94wBhPGp")
    assert (seeded.name, seeded.is_admin, len(seeded.orgs)) == ("__DUMMY_HUB_USER__", True, 2)


def test_fresh_tokens_are_printed_once_and_work(clade: Clade, data: Path) -> None:
    made = clade("user", "create", "bo", "--data", data, "--json").facts
    reading = clade("user", "token", "bo", "--data", data, "--json").facts

    assert principal_of(data, made["token"]).role == "write"
    assert principal_of(data, reading["token"]).role == "read"
    assert principal_of(data, reading["token"]).name == "bo"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "ann"], "taken"),
        (["create", "ANN", "--token", "hf_new"], "taken"),
        (["create", "bo", "--token", "hf_ann"], "in use"),
        (["create", "bad name"], "not allowed"),
        (["create", "api"], "reserved"),
        (["create", "bo", "--token", "two words"], "printable"),
        (["create", "bo", "--org", "ann"], "is a user"),
        (["token", "nobody"], "no user"),
    ],
)
def test_bad_users_are_refused_in_one_line(
    clade: Clade, data: Path, arguments: list[str], said: str
) -> None:
    assert said in clade("user", *arguments, "--data", data).complaint
    with pytest.raises(Unauthorized):
        principal_of(data, "hf_new")


def test_organisations_are_made_and_joined(clade: Clade, data: Path) -> None:
    token = clade("user", "create", "bo", "--data", data, "--json").facts["token"]
    made = clade("org", "create", "lab", "--admin", "ann", "--private", "--data", data, "--json")
    joined = clade("org", "member", "lab", "bo", "--role", "contributor", "--data", data)

    assert made.facts == {"name": "lab", "admins": "ann"}
    assert joined.status == 0
    assert list(principal_of(data, token).orgs.values()) == ["contributor"]
    assert "taken" in clade("org", "create", "lab", "--admin", "ann", "--data", data).complaint
    assert "no user" in clade("org", "create", "x", "--admin", "cy", "--data", data).complaint
    assert "no organisation" in clade("org", "member", "x", "bo", "--data", data).complaint
    assert "is a user" in clade("org", "member", "ann", "bo", "--data", data).complaint


@pytest.mark.parametrize("command", ["jobs", "stats", "fsck", "gc", "reencode"])
def test_directory_without_a_hub_is_named_and_left_alone(
    clade: Clade, tmp_path: Path, command: str
) -> None:
    assert str(tmp_path / "none") in clade(command, "--data", tmp_path / "none").complaint
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["jobs", "stats", "fsck", "gc", "reencode"])
def test_facts_are_for_people_and_for_programs(clade: Clade, pushed: Path, command: str) -> None:
    told, shown = clade(command, "--data", pushed, "--json"), clade(command, "--data", pushed)

    assert told.status == shown.status == 0
    assert told.err == shown.err == ""
    for name in told.facts:
        assert name.replace("_", " ") in shown.out


def test_jobs_are_done_with_nothing_but_facts_on_stdout(clade: Clade, pushed: Path) -> None:
    assert clade("jobs", "--data", pushed, "--json").facts["queued"] > 0

    waited = clade("jobs", "--wait", "--data", pushed, "--json")

    assert (waited.facts["queued"], waited.facts["running"], waited.facts["failed"]) == (0, 0, 0)
    assert waited.facts["done"] > 0
    assert clade("jobs", "--wait", "--watch", "--data", pushed).status == 0


def test_given_up_jobs_are_named(
    clade: Clade, models: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.hub.clock = SystemClock()
    models.push("ann/toy", base_weights())
    for path in objects_of(models.hub.settings.data):
        path.unlink()
    monkeypatch.setenv("CLADE_JOBS__MAX_ATTEMPTS", "1")

    done = clade("jobs", "--wait", "--data", models.hub.settings.data, "--json")

    assert done.status == 1
    assert done.facts["failed"] == len(done.facts["errors"]) > 0


def test_flipped_bit_is_named_by_repo_and_path(clade: Clade, pushed: Path) -> None:
    biggest = max(objects_of(pushed), key=lambda path: path.stat().st_size)
    flip_bit(biggest)

    assert clade("fsck", "--data", pushed).status == 0
    deep = clade("fsck", "--deep", "--data", pushed)
    told = clade("fsck", "--deep", "--data", pushed, "--json")

    assert deep.status == told.status == 1
    assert "model/ann/toy:model.safetensors" in deep.out
    assert told.facts["clean"] is False
    assert "model/ann/toy:model.safetensors" in told.facts["problems"][0]["places"]


def test_lost_object_is_named_without_reading_bytes(clade: Clade, pushed: Path) -> None:
    max(objects_of(pushed), key=lambda path: path.stat().st_size).unlink()

    done = clade("fsck", "--data", pushed)

    assert done.status == 1
    assert "model/ann/toy:model.safetensors" in done.out


def test_gc_now_deletes_what_was_replaced(clade: Clade, pushed: Path) -> None:
    clade("jobs", "--wait", "--data", pushed)
    before = sum(path.stat().st_size for path in objects_of(pushed))

    collected = clade("gc", "--now", "--data", pushed, "--json").facts

    after = sum(path.stat().st_size for path in objects_of(pushed))
    assert collected["stored_nbytes_deleted"] == before - after > 0
    assert clade("fsck", "--deep", "--data", pushed).status == 0
    assert clade("stats", "--data", pushed, "--json").facts["stored_bytes"] == after


def test_what_an_older_version_stored_is_coded_again_on_request(clade: Clade, pushed: Path) -> None:
    clade("jobs", "--wait", "--data", pushed)
    assert clade("reencode", "--data", pushed, "--json").facts["queued"] is False
    with contextlib.closing(open_hub(Settings(data=pushed))) as hub:
        hub.db.run(lambda session: session.execute(update(Encoding).values(encoder=0)))

    queued = clade("reencode", "--data", pushed, "--json").facts
    waited = clade("reencode", "--wait", "--data", pushed, "--json").facts

    assert queued["queued"] is True
    assert queued["contents"] == waited["contents"] > 0
    assert (waited["queued"], waited["contents_left"]) == (False, 0)
    assert clade("fsck", "--deep", "--data", pushed).status == 0


def test_kernels_are_compiled_ahead_and_kept(clade: Clade) -> None:
    facts = clade("warm", "--json").facts

    assert facts["kernels"] > 10
    assert Path(facts["directory"]).is_dir()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CLADE_JOBS__THREADS", "many", "CLADE_JOBS__THREADS"),
        ("CLADE_DATABSE_URL", "x", "CLADE_DATABSE_URL is no setting of the hub; did you mean"),
        ("CLADE_JOBS__THREDS", "1", "did you mean CLADE_JOBS__THREADS?"),
        ("CLADE_XYZZY", "1", "clade: CLADE_XYZZY is no setting of the hub"),
        ("CLADE_STORE_URL", "ftp://host/", "CLADE_STORE_URL"),
        ("CLADE_DATABASE_URL", "nonsense", "database"),
        ("CLADE_DATABASE_URL", "postgresql://ann:geheim@127.0.0.1:1/hub", "database"),
    ],
)
def test_bad_settings_are_named_in_one_line(
    clade: Clade, data: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    complaint = clade("stats", "--data", data).complaint

    assert said in complaint
    assert "geheim" not in complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["stats", "--nope"],
        ["serve", "--port", "http"],
        ["serve", "--port", "65536"],
        ["pull", "ann/toy"],
        ["user", "create"],
        ["user", "create", "bo", "--role", "root"],
    ],
)
def test_bad_arguments_are_usage_errors(clade: Clade, arguments: list[str]) -> None:
    done = clade(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "Usage: clade" in done.err


def test_port_in_use_is_one_line_and_makes_no_hub(clade: Clade, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = clade("serve", "--port", port, "--data", tmp_path / "hub").complaint

    assert f"127.0.0.1:{port}" in complaint
    assert not (tmp_path / "hub").exists()


def test_directory_that_cannot_be_made_is_one_line(clade: Clade, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (
        str(tmp_path / "file") in clade("serve", "--port", 0, "--data", tmp_path / "file").complaint
    )


def test_first_token_survives_a_start_that_was_cut_short(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_told\n")  # killed before the user was made

    with contextlib.closing(open_hub(Settings(data=tmp_path))) as hub:
        assert first_token(hub) == first_token(hub) == "hf_told"

    assert principal_of(tmp_path, "hf_told").name == "clade"


def test_pull_fetches_and_says_what_it_moved(
    clade: Clade, live_hub: LiveHub, tmp_path: Path
) -> None:
    live_hub.api().create_repo("alice/model")
    live_hub.api().upload_file(
        path_or_fileobj=b"hello", path_in_repo="a/b.txt", repo_id="alice/model"
    )
    where = ("--endpoint", live_hub.url, "--token", live_hub.alice, "--cache", tmp_path / "cache")

    told = clade("pull", "alice/model", "--to", tmp_path / "a", *where, "--json")
    shown = clade("pull", "alice/model", "--to", tmp_path / "b", *where, "--include", "a/*")

    assert told.status == shown.status == 0
    assert told.facts["files"] == 2
    assert "alice/model" in shown.out
    assert (tmp_path / "a" / "a" / "b.txt").read_bytes() == b"hello"
    assert [path.name for path in (tmp_path / "b").rglob("*.txt")] == ["b.txt"]


def test_pull_complains_in_one_line(clade: Clade, live_hub: LiveHub, tmp_path: Path) -> None:
    live_hub.api().create_repo("alice/secret", private=True)

    def complaint(repo: str, token: str, *options: str, endpoint: str = live_hub.url) -> str:
        to = ("--to", tmp_path / "to", "--token", token, "--endpoint", endpoint)
        return clade("pull", repo, *to, *options).complaint

    assert "does not answer" in complaint("alice/secret", "x", endpoint="http://127.0.0.1:1")
    assert "Invalid credentials" in complaint("alice/secret", "hf_wrong")
    assert "not found" in complaint("alice/secret", live_hub.bob)
    assert "not found" in complaint("alice/missing", live_hub.alice)
    assert "nope" in complaint("alice/secret", live_hub.alice, "--revision", "nope")


def test_watch_shows_a_bar_on_a_live_server(server: Server) -> None:
    master, terminal = pty.openpty()
    watch = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "clade"), "jobs", "--watch", "--json"),
            *("--data", str(server.data)),
        ],
        env=server.client_env | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    seen = read_until(master, "jobs: ")
    client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"})
    with client:
        client.post("/api/repos/create", json={"name": "toy"}).raise_for_status()
        line = {"key": "file", "value": {"path": "a.txt", "content": "YQ=="}}
        head = {"key": "header", "value": {"summary": "a"}}
        body = "\n".join(map(json.dumps, (head, line)))
        client.post("/api/models/clade/toy/commit/main", content=body).raise_for_status()
    seen += read_until(master, "1 finished", "2 finished", "3 finished")

    watch.send_signal(signal.SIGINT)
    out, _ = watch.communicate(timeout=60)
    os.close(master)

    assert watch.returncode == 0
    assert json.loads(out)["done"] >= 1
    assert "━" in seen


def read_until(master: int, *texts: str) -> str:
    """What a terminal shows until one of ``texts`` does."""
    seen = b""
    while not any(text.encode() in seen for text in texts):
        seen += os.read(master, 4096)
    return seen.decode(errors="replace")


def objects_of(data: Path) -> list[Path]:
    return [path for path in (data / "objects").rglob("*") if path.is_file()]


def flip_bit(path: Path) -> None:
    data = np.fromfile(path, np.uint8)
    data[data.size // 2] ^= 1
    path.chmod(0o600)
    data.tofile(path)
