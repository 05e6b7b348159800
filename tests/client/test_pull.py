import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import numpy as np
import pytest
import typer

from app.clock import ManualClock
from app.hub import Hub
from app.store.factory import open_store
from client.cli import pull_command
from client.errors import Refused, TargetRefused
from client.progress import PullProgress
from client.pull import PullResult, is_wanted, pull, safe_target
from tests.fixtures.contents import ContentFactory
from tests.fixtures.published import Publisher
from tests.fixtures.services import S3Server

MIB = 1 << 20
NAME = "model.safetensors"


def weights(nbytes: int, seed: int) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def drifted(data: bytes) -> bytes:
    """The same weights after a little training."""
    words = np.frombuffer(data, np.uint16)
    drift = np.random.default_rng(0).integers(-1, 2, words.size)
    return (words + drift).astype(np.uint16).tobytes()


class Family:
    """alice/base and its fine-tune alice/tuned: big and small tensors, one of them twice."""

    def __init__(self, publisher: Publisher, contents: ContentFactory, *, private: bool) -> None:
        sizes = [2 * MIB + 6, *([20_000] * 30), 3 * MIB]
        self.bases = contents.contents(
            [(weights(nbytes, seed), "PLANE", None) for seed, nbytes in enumerate(sizes)]
        )
        self.deltas = contents.contents(
            [(drifted(contents.bytes_of[id_]), "BITX", id_) for id_ in self.bases]
        )
        self.base = contents.file([contents.content(b"base header"), *self.bases])
        self.tuned = contents.file(
            [contents.content(b"tuned header"), *self.deltas, self.deltas[0]]
        )
        publisher.publish("alice/base", {NAME: self.base}, private=private)
        publisher.publish(
            "alice/tuned", {NAME: self.tuned, "sub/config.json": publisher.text(b"{}")}
        )


@pytest.fixture
def family(publisher: Publisher, contents: ContentFactory) -> Family:
    return Family(publisher, contents, private=False)


def pull_to(
    base_url: str, tmp_path: Path, repo: str = "alice/tuned", to: str = "out", **options
) -> PullResult:
    return pull(repo, to=tmp_path / to, endpoint=base_url, cache=tmp_path / "cache", **options)


def test_fine_tune_after_its_base_moves_only_the_delta(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    with publisher.serving() as url:
        pull_to(url, tmp_path, "alice/base", "base")
        result = pull_to(url, tmp_path)

    assert (tmp_path / "base" / NAME).read_bytes() == family.base.data
    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data
    assert (tmp_path / "out/sub/config.json").read_bytes() == b"{}"
    assert result.disk_nbytes > len(family.tuned.data)
    assert result.wire_nbytes < 0.45 * len(family.tuned.data)


def test_fine_tune_alone_fetches_its_base_once_and_keeps_it(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    with publisher.serving() as url:
        first = pull_to(url, tmp_path, to="first")
        (tmp_path / "cache" / "pulled.sqlite").unlink()
        second = pull_to(url, tmp_path, to="second")

    assert (tmp_path / "first" / NAME).read_bytes() == family.tuned.data
    assert (tmp_path / "second" / NAME).read_bytes() == family.tuned.data
    assert first.wire_nbytes < len(family.tuned.data)
    assert second.wire_nbytes < 0.45 * len(family.tuned.data)


def test_base_changed_on_disk_since_is_not_trusted(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    with publisher.serving() as url:
        pull_to(url, tmp_path, "alice/base", "base")
        path = tmp_path / "base" / NAME
        stat = path.stat()
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        pull_to(url, tmp_path)

    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data


def test_contents_pulled_before_are_copied_not_fetched(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    with publisher.serving() as url:
        pull_to(url, tmp_path, to="first")
        again = pull_to(url, tmp_path, to="second")

    assert (tmp_path / "second" / NAME).read_bytes() == family.tuned.data
    assert again.wire_nbytes < 30_000


def test_second_pull_fetches_no_file(publisher: Publisher, family: Family, tmp_path: Path) -> None:
    with publisher.serving() as url:
        first = pull_to(url, tmp_path)
        second = pull_to(url, tmp_path)

    assert (first.skipped, second.skipped, second.files) == (0, 3, 3)
    assert second.wire_nbytes < 5000


def test_file_that_was_there_before_is_looked_into(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_bytes(family.tuned.data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / NAME).write_bytes(family.tuned.data[:-1] + b"!")

    with publisher.serving() as url:
        assert pull_to(url, tmp_path).skipped == 1
        assert pull_to(url, tmp_path, to="other").skipped == 0

    assert (tmp_path / "other" / NAME).read_bytes() == family.tuned.data


def test_base_that_must_not_be_seen_does_not_cross_the_wire(
    publisher: Publisher, contents: ContentFactory, tmp_path: Path
) -> None:
    family = Family(publisher, contents, private=True)

    with publisher.serving() as url:
        pull_to(url, tmp_path, token="bob")

    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data
    assert not list((tmp_path / "cache" / "contents").glob("*/*"))


def test_damaged_delta_is_replaced_by_what_the_hub_decodes_from_a_spare(
    publisher: Publisher, contents: ContentFactory, tmp_path: Path
) -> None:
    base = contents.content(weights(MIB, 1), "PLANE")
    tuned = contents.content(drifted(contents.bytes_of[base]))
    file = contents.file([tuned])
    publisher.publish("alice/base", {NAME: contents.file([base])})
    publisher.publish("alice/tuned", {NAME: file})
    contents.reencode(tuned, "BITX", base)
    contents.overwrite(contents.key_of(tuned), bytes(10))

    with publisher.serving() as url:
        pull_to(url, tmp_path)

    assert (tmp_path / "out" / NAME).read_bytes() == file.data


def test_urls_that_expire_on_the_way_are_asked_for_again(
    hub: Hub, publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    clock, late = hub.clock, iter([hub.settings.timers.presign_s + 1])
    assert isinstance(clock, ManualClock)

    def dawdle(state: PullProgress) -> None:
        if state.nbytes_done > MIB:
            clock.advance(next(late, 0))

    with publisher.serving() as url:
        pull_to(url, tmp_path, progress=dawdle, threads=1)

    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data


def test_progress_ends_at_the_whole(publisher: Publisher, family: Family, tmp_path: Path) -> None:
    seen: list[PullProgress] = []

    with publisher.serving() as url:
        pull_to(url, tmp_path, progress=seen.append)

    assert seen[-1].files_done == seen[-1].files == 3
    assert seen[-1].nbytes_done == seen[-1].nbytes
    assert [state.nbytes_done for state in seen] == sorted(state.nbytes_done for state in seen)


def test_killed_pull_goes_on_without_fetching_again(
    publisher: Publisher, contents: ContentFactory, tmp_path: Path
) -> None:
    file = contents.file([contents.content(weights(9 * MIB, seed), "PLANE") for seed in range(6)])
    publisher.publish("alice/tuned", {NAME: file})
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from client.pull import pull

        def die_half_way(state):
            if state.nbytes_done > state.nbytes * 0.6:
                os.kill(os.getpid(), signal.SIGKILL)

        url, to, cache = sys.argv[1:]
        pull("alice/tuned", to=Path(to), endpoint=url, cache=Path(cache), progress=die_half_way)
        """
    )
    with publisher.serving() as url:
        killed = subprocess.run(
            [sys.executable, "-c", script, url, tmp_path / "out", tmp_path / "cache"], check=False
        )
        half = (tmp_path / "out" / NAME).exists()
        result = pull_to(url, tmp_path)

    assert killed.returncode == -signal.SIGKILL
    assert not half
    assert (tmp_path / "out" / NAME).read_bytes() == file.data
    assert result.wire_nbytes < 0.5 * len(file.data)
    assert not list((tmp_path / "out/.clade/parts").iterdir())


def test_rot_in_an_unfinished_file_is_noticed(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    parts = tmp_path / "out/.clade/parts"
    parts.mkdir(parents=True)
    name = hashlib.sha256(family.tuned.data).hexdigest()
    data = bytearray(family.tuned.data)
    data[-1] ^= 1
    (parts / f"{name}.part").write_bytes(data)
    (parts / f"{name}.journal").write_bytes(np.arange(100, dtype="<u4").tobytes() + b"\1")

    with publisher.serving() as url:
        result = pull_to(url, tmp_path)

    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data
    assert 0 < result.wire_nbytes < 0.8 * len(family.tuned.data)


def test_damage_everywhere_leaves_no_file(
    publisher: Publisher, contents: ContentFactory, tmp_path: Path
) -> None:
    content = contents.content(weights(MIB, 1), "PLANE")
    publisher.publish("alice/tuned", {NAME: contents.file([content])})
    contents.overwrite(contents.key_of(content), bytes(10))

    with publisher.serving() as url, pytest.raises(Refused) as failed:
        pull_to(url, tmp_path)

    assert failed.value.code == "Damaged"
    assert not (tmp_path / "out" / NAME).exists()


def test_refusals_name_their_reason(publisher: Publisher, tmp_path: Path) -> None:
    with publisher.serving() as url, pytest.raises(Refused) as refused:
        pull_to(url, tmp_path, "alice/absent", token="bob")

    assert (refused.value.status, refused.value.code) == (404, "RepoNotFound")


def test_patterns_choose_files() -> None:
    assert is_wanted("a/model.bin", [], [])
    assert is_wanted("a/model.bin", ["*.bin"], [])
    assert not is_wanted("a/model.bin", ["*.json"], [])
    assert not is_wanted("a/model.bin", ["*.bin"], ["a/*"])


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", ".clade/lock", "link/x"]
)
def test_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / "link").symlink_to(tmp_path)

    with pytest.raises(TargetRefused):
        safe_target(to, path)


def test_a_backslash_is_a_letter_but_where_it_separates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert safe_target(tmp_path, "a/..\\b") == tmp_path / "a" / "..\\b"
    monkeypatch.setattr("os.sep", "\\")
    with pytest.raises(TargetRefused):
        safe_target(tmp_path, "a/..\\b")


def test_command_prints_facts_and_ends_with_a_status(
    publisher: Publisher, family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with publisher.serving() as url:
        options = {"endpoint": url, "cache": tmp_path / "cache"}
        pull_command("alice/tuned", to=tmp_path / "a", as_json=True, **options)  # type: ignore[arg-type]
        facts = json.loads(capsys.readouterr().out)
        pull_command("alice/tuned", to=tmp_path / "b", **options)  # type: ignore[arg-type]
        line = capsys.readouterr().out
        with pytest.raises(typer.Exit) as end:
            pull_command("alice/absent", to=tmp_path / "c", **options)  # type: ignore[arg-type]

    assert facts["files"] == 3
    assert "on the wire for" in line
    assert end.value.exit_code == 1
    assert capsys.readouterr().err.startswith("clade: ")


def test_two_pulls_into_one_directory_do_not_mix(
    publisher: Publisher, family: Family, tmp_path: Path
) -> None:
    def pull_again(_state: PullProgress) -> None:
        with pytest.raises(TargetRefused):
            pull_to(url, tmp_path)

    with publisher.serving() as url:
        pull_to(url, tmp_path, progress=pull_again)


def test_empty_file_is_pulled(
    publisher: Publisher, contents: ContentFactory, tmp_path: Path
) -> None:
    publisher.publish("alice/tuned", {"empty.bin": contents.file([])})

    with publisher.serving() as url:
        pull_to(url, tmp_path)

    assert (tmp_path / "out/empty.bin").read_bytes() == b""


def test_stored_bytes_come_straight_from_a_store_that_can_presign(
    hub: Hub,
    publisher: Publisher,
    contents: ContentFactory,
    s3_server: S3Server,
    s3_url: str,
    tmp_path: Path,
) -> None:
    local, hub.store = (
        hub.store,
        open_store(s3_url, access_key=s3_server.access_key, secret_key=s3_server.secret_key),
    )
    local.close()
    family = Family(publisher, contents, private=False)

    with publisher.serving() as url:
        plan = httpx.get(f"{url}/api/clade/models/alice/tuned/plan/main/{NAME}").json()
        pull_to(url, tmp_path, "alice/base", "base")
        result = pull_to(url, tmp_path)

    assert all(extent["url"].startswith(s3_server.endpoint) for extent in plan["extents"])
    assert (tmp_path / "out" / NAME).read_bytes() == family.tuned.data
    assert result.wire_nbytes < 0.45 * len(family.tuned.data)
