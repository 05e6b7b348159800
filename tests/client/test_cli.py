"""`clade pull` as people type it."""

from pathlib import Path

from tests.fixtures.api import LiveHub
from tests.fixtures.command import Clade


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
