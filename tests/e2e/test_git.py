"""Clone, fetch and push by the real git and git-lfs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.api import LiveHub, add
from tests.fixtures.git import Git


@pytest.fixture
def git(live_hub: LiveHub, tmp_path: Path) -> Git:
    return Git(tmp_path / "git-home", live_hub.url, live_hub.alice)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts and ".cache" not in path.parts
    }


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_clone_holds_what_a_download_holds(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path, version: str
) -> None:
    api = live_hub.api()
    big = os.urandom(3 << 20)
    api.create_commit(
        live_repo,
        [
            add("config.json", b"{}"),
            add("deep/er/n.txt", b"n\n"),
            add("model.safetensors", big),
        ],
        commit_message="files",
    )
    git(tmp_path, "config", "--global", "protocol.version", version)

    clone = git.clone(live_repo, tmp_path / "clone")

    loaded = api.snapshot_download(live_repo, local_dir=tmp_path / "loaded")
    assert files_below(clone) == files_below(Path(loaded))
    assert files_below(clone)["model.safetensors"] == big
    assert git(clone, "rev-parse", "HEAD").stdout.strip() == api.model_info(live_repo).sha
    git(clone, "fsck", "--strict", "--full")


def test_a_push_shows_up_in_the_api(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(f"{live_repo}.git", tmp_path / "clone")
    big = os.urandom(2 << 20)
    (clone / "model.safetensors").write_bytes(big)
    (clone / "sub").mkdir()
    (clone / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (clone / "sub" / "run.sh").chmod(0o755)
    head = git.commit(clone, "weights\n\nand more")

    git(clone, "push", "origin", "main")

    api = live_hub.api()
    assert api.model_info(live_repo).sha == head
    commit = api.list_repo_commits(live_repo)[0]
    assert (commit.title, commit.message, commit.authors) == ("weights", "and more", ["Ada of git"])
    (model,) = api.get_paths_info(live_repo, ["model.safetensors"])
    assert (model.size, model.lfs is not None) == (len(big), True)
    local = api.hf_hub_download(live_repo, "model.safetensors", local_dir=tmp_path / "x")
    assert Path(local).read_bytes() == big
    again = git.clone(live_repo, tmp_path / "again")
    assert files_below(again) == files_below(clone)
    assert os.access(again / "sub" / "run.sh", os.X_OK)
    git(again, "fsck", "--strict", "--full")


@pytest.mark.parametrize("version", ["0", "2"])
def test_pull_brings_what_the_api_committed(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path, version: str
) -> None:
    git(tmp_path, "config", "--global", "protocol.version", version)
    clone = git.clone(live_repo, tmp_path / "clone")
    for number in range(40):  # many haves
        (clone / "local.txt").write_text(str(number))
        git.commit(clone, f"local {number}")
    api = live_hub.api()
    api.create_commit(live_repo, [add("a/b.txt", b"from the api")], commit_message="api")
    big = os.urandom(1 << 20)
    api.create_commit(live_repo, [add("w.bin", big)], commit_message="weights")

    git(clone, "pull", "--no-rebase", "--no-edit")

    assert (clone / "a" / "b.txt").read_bytes() == b"from the api"
    assert (clone / "w.bin").read_bytes() == big
    git(clone, "push")
    assert len(api.list_repo_commits(live_repo)) == 44  # the merge, 40 here, 2 there, the first
    assert "api" in git(git.clone(live_repo, tmp_path / "x"), "log", "--format=%s").stdout


def test_a_push_that_does_not_follow_is_refused(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    live_hub.api().create_commit(live_repo, [add("x.txt", b"x")], commit_message="first")
    (clone / "y.txt").write_text("y")
    git.commit(clone)

    plain = git(clone, "push", check=False)
    forced = git(clone, "push", "--force", check=False)

    assert "rejected" in plain.stderr
    assert "non-fast-forward: this hub refuses forced pushes here" in forced.stderr
    assert live_hub.api().file_exists(live_repo, "x.txt")


def test_branches_are_made_forced_and_deleted(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    git(clone, "checkout", "-q", "-b", "try/one")
    (clone / "y.txt").write_text("y")
    git.commit(clone)
    git(clone, "push", "origin", "try/one")
    git(clone, "commit", "--amend", "-q", "-m", "better")
    head = git(clone, "rev-parse", "HEAD").stdout.strip()
    git(clone, "push", "--force", "origin", "try/one", "HEAD~:refs/heads/TRY/one")
    api = live_hub.api()
    branches = {ref.name: ref.target_commit for ref in api.list_repo_refs(live_repo).branches}
    assert branches["try/one"] == head != branches["TRY/one"]
    assert api.file_exists(live_repo, "y.txt", revision="try/one")
    assert not api.file_exists(live_repo, "y.txt", revision="TRY/one")
    again = git.clone(live_repo, tmp_path / "again")
    assert git(again, "rev-parse", "origin/TRY/one", "origin/try/one").stdout.split() == [
        branches["TRY/one"],
        branches["try/one"],
    ]
    git(clone, "push", "origin", "--delete", "try/one", "TRY/one")
    assert [ref.name for ref in api.list_repo_refs(live_repo).branches] == ["main"]
    kept = git(clone, "push", "origin", "--delete", "main", check=False)
    assert "the default branch stays" in kept.stderr


def test_tags_with_and_without_a_note(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    git(clone, "tag", "light")
    git(clone, "tag", "-a", "v1", "-m", "the first")
    git(clone, "push", "origin", "--tags")

    again = git.clone(live_repo, tmp_path / "again")

    head = git(clone, "rev-parse", "HEAD").stdout.strip()
    tags = {ref.name: ref.target_commit for ref in live_hub.api().list_repo_refs(live_repo).tags}
    assert tags == {"light": head, "v1": head}
    note = git(again, "cat-file", "tag", "v1").stdout
    assert note == git(clone, "cat-file", "tag", "v1").stdout
    git(again, "push", "origin", "v1:refs/tags/v2")
    assert git(clone, "ls-remote", "origin", "v2*").stdout.count("refs/tags/v2") == 2
    git(clone, "push", "origin", "--delete", "v1")
    assert "v1" not in git(clone, "ls-remote", "--tags", "origin").stdout


@pytest.mark.parametrize("version", ["0", "2"])
def test_shallow_clones_deepen(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path, version: str
) -> None:
    git(tmp_path, "config", "--global", "protocol.version", version)
    api = live_hub.api()
    for number in range(5):
        content = [add("f.txt", b"%d" % number)]
        api.create_commit(live_repo, content, commit_message=f"c{number}")

    clone = git.clone(live_repo, tmp_path / "clone", "--depth", "2")

    def subjects() -> list[str]:
        return git(clone, "log", "--format=%s").stdout.split("\n")[:-1]

    assert subjects() == ["c4", "c3"]
    git(clone, "fetch", "--depth", "3")
    assert subjects() == ["c4", "c3", "c2"]
    git(clone, "fetch", "--deepen", "1")
    assert subjects() == ["c4", "c3", "c2", "c1"]
    (clone / "g.txt").write_text("g")
    git.commit(clone, "from a shallow clone")
    git(clone, "push")
    git(clone, "fetch", "--unshallow")
    assert subjects()[-1] == "initial commit"
    git(clone, "fsck", "--strict", "--full")


def test_commits_are_listed_as_git_log_lists_them(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")

    def commit(hour: int, branch: str, *others: str) -> None:
        date = f"2027-01-01T{hour:02}:00:00Z"
        git(clone, "checkout", "-q", "-B", branch)
        if others:
            git(clone, "merge", "-q", "--no-ff", "-m", "join", *others, GIT_COMMITTER_DATE=date)
        else:
            note = ["commit", "-q", "--allow-empty", "-m", f"{branch} {hour}"]
            git(clone, *note, GIT_COMMITTER_DATE=date)

    def leave(start: str) -> None:
        git(clone, "checkout", "-q", start)

    for hour in (1, 4, 9):
        commit(hour, "one")
    leave("main")
    for hour in (2, 3, 8):
        commit(hour, "two")
    leave("one~1")
    for hour in (5, 7):
        commit(hour, "three")
    leave("one")
    commit(10, "joined", "two", "three")
    commit(11, "joined")
    git(clone, "push", "-q", "origin", "joined")
    client, url, listed = live_hub.http(), f"/api/models/{live_repo}/commits/joined?limit=3", []
    while url:
        answer = client.get(url).raise_for_status()
        listed += [each["id"] for each in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert listed == git(clone, "log", "--format=%H", "joined").stdout.split()
    assert len(listed) == 11


def test_a_thousand_files_both_ways(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    for number in range(1_000):
        folder = clone / f"d{number % 17}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_bytes(os.urandom(2_000) + b"%d" % number)
    git.commit(clone)
    git(clone, "push")

    again = git.clone(live_repo, tmp_path / "again")

    assert files_below(again) == files_below(clone)
    assert len(live_hub.api().list_repo_files(live_repo)) == 1_001
    (clone / "d3" / "3.txt").write_bytes(b"short")
    git.commit(clone)
    git(clone, "push")
    git(again, "pull")
    assert (again / "d3" / "3.txt").read_bytes() == b"short"


def test_private_repos_and_bad_tokens(live_hub: LiveHub, git: Git, tmp_path: Path) -> None:
    live_hub.api().create_repo("alice/secret", private=True)
    live_hub.api().create_repo("alice/open")
    git.clone("alice/secret", tmp_path / "mine")
    anonymous = Git(tmp_path / "h1", live_hub.url, None)
    bob = Git(tmp_path / "h2", live_hub.url, live_hub.bob, "bob")
    wrong = Git(tmp_path / "h3", live_hub.url, "hf_wrong")

    for who, said in (
        (anonymous, "could not read Username"),
        (bob, "not found"),
        (wrong, "Authentication failed"),
    ):
        failed = who(tmp_path, "clone", who.url("alice/secret"), "x", check=False)
        assert failed.returncode != 0
        assert said in failed.stderr
    clone = bob.clone("alice/open", tmp_path / "open")
    (clone / "y.txt").write_text("y")
    bob.commit(clone)
    refused = bob(clone, "push", check=False)
    assert "remote: you may not write to alice/open" in refused.stderr
    unknown = bob(clone, "fetch", "origin", "1" * 40, check=False)
    assert f"remote error: upload-pack: not our ref {'1' * 40}" in unknown.stderr
    since = bob(clone, "fetch", "--shallow-since=2020-01-01", check=False)
    assert "remote error: deepen-since is not offered by this server" in since.stderr
    anonymous.clone("alice/open", tmp_path / "open-too")


def test_lfs_objects_that_were_not_sent_are_named(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    (clone / "model.safetensors").write_bytes(os.urandom(1_000))
    git.commit(clone)

    refused = git(clone, "push", "--no-verify", check=False)  # the hook is what sends them

    assert refused.returncode != 0
    assert "LFS objects are missing: model.safetensors" in refused.stderr
    assert "git lfs push --all origin" in refused.stderr
    git(clone, "lfs", "push", "--all", "origin")
    git(clone, "push", "--no-verify")
    assert live_hub.api().file_exists(live_repo, "model.safetensors")


@pytest.mark.long
def test_large_files_go_up_in_parts_by_the_agent_of_hf(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    hub = live_hub.hub
    small = {"lfs_multipart_nbytes": 300_000, "lfs_part_nbytes": 128 << 10}
    limits = hub.settings.limits.model_copy(update=small)
    hub.settings = hub.settings.model_copy(update={"limits": limits})
    programs = Path(sys.executable).parent
    git.env["PATH"] = f"{programs}:{git.env['PATH']}"
    clone = git.clone(live_repo, tmp_path / "clone")
    subprocess.run([programs / "hf", "lfs-enable-largefiles", str(clone)], env=git.env, check=True)
    big, little = os.urandom(1_000_001), os.urandom(1_000)
    (clone / "model.safetensors").write_bytes(big)
    (clone / "little.safetensors").write_bytes(little)
    git.commit(clone)

    pushed = git(clone, "push", GIT_TRACE="1")

    assert "lfs-multipart-upload" in pushed.stderr
    assert files_below(git.clone(live_repo, tmp_path / "again")) == files_below(clone)
    got = live_hub.http().get(f"/{live_repo}/resolve/main/model.safetensors")
    assert got.content == big


def test_big_plain_files_submodules_and_twins_are_refused(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    start = git(clone, "rev-parse", "HEAD").stdout.strip()

    def refusal() -> str:
        git(clone, "add", "-A", "--", "*.txt", check=False)
        git(clone, "commit", "-q", "-m", "a change")
        pushed = git(clone, "push", check=False)
        assert pushed.returncode != 0
        git(clone, "reset", "-q", "--hard", start)
        return pushed.stderr

    (clone / "big.txt").write_bytes(os.urandom(11 << 20))
    assert "big.txt: 11534336 bytes are too many" in refusal()
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{start},module")
    assert "module: submodules are not served" in refusal()
    (clone / "a.txt").write_text("1")
    (clone / "A.txt").write_text("2")
    assert "differs from 'A.txt' only in case" in refusal()
    (clone / "con.txt").write_text("2")
    assert "device names" in refusal()
    assert live_hub.api().model_info(live_repo).sha == start


def test_links_signatures_and_foreign_histories_come_back_as_they_were(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    git(made, "init", "-q")
    (made / "README.md").write_text("hello")
    (made / "link").symlink_to("README.md")
    git(made, "add", "-A")
    git(
        made,
        *("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "-m", "Grüße"),
        GIT_AUTHOR_DATE="1234567890 +0530",
        GIT_COMMITTER_DATE="2000000000 -0930",
    )
    git(made, "checkout", "-q", "--orphan", "other")
    git(made, "commit", "-q", "--allow-empty-message", "-m", "")
    git(made, "checkout", "-q", "main")
    git(made, "merge", "-q", "--allow-unrelated-histories", "--no-edit", "other")
    head = git(made, "rev-parse", "HEAD").stdout.strip()

    git(made, "push", git.url(live_repo), "main:refs/heads/foreign")

    assert live_hub.api().model_info(live_repo, revision="foreign").sha == head
    again = git.clone(live_repo, tmp_path / "again", "-b", "foreign")
    assert (again / "link").readlink() == Path("README.md")
    git(again, "fsck", "--strict", "--full")
    live_hub.api().create_commit(
        live_repo, [add("link", b"bytes")], commit_message="a file", revision="foreign"
    )
    git(again, "pull", "-q")
    assert not (again / "link").is_symlink()
    assert (again / "link").read_bytes() == b"bytes"


def test_datasets_and_moved_repos(live_hub: LiveHub, git: Git, tmp_path: Path) -> None:
    api = live_hub.api()
    api.create_repo("alice/data", repo_type="dataset")
    clone = git.clone("datasets/alice/data", tmp_path / "clone")
    api.move_repo("alice/data", "alice/moved", repo_type="dataset")
    (clone / "x.parquet").write_bytes(os.urandom(10_000))
    git.commit(clone)

    git(clone, "remote", "set-url", "origin", git.url("datasets/alice/moved"))
    git(clone, "push")

    old = git.clone("datasets/alice/data", tmp_path / "by-old-name")
    assert files_below(old) == files_below(clone)


def test_what_is_known_to_git_is_not_sent_again(
    live_hub: LiveHub, live_repo: str, git: Git, tmp_path: Path
) -> None:
    clone = git.clone(live_repo, tmp_path / "clone")
    text = "\n".join(os.urandom(16).hex() for _ in range(20_000))
    (clone / "long.txt").write_text(text)
    git.commit(clone)
    git(clone, "push")
    (clone / "long.txt").write_text(text + "\none more line")
    head = git.commit(clone)

    git(clone, "push", "--thin")  # a delta against what only the hub has

    assert live_hub.api().model_info(live_repo).sha == head
    again = git.clone(live_repo, tmp_path / "again")
    assert (again / "long.txt").read_text().endswith("one more line")
    (clone / "short.txt").write_text("s")
    git.commit(clone)
    git(clone, "push")
    fetched = git(again, "fetch", "--progress")
    assert "Sending 3 objects" in fetched.stderr
