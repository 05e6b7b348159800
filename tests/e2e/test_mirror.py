"""A mirror between real clients and a real upstream: fetched once, and afterwards offline."""

import hashlib
import os
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_clients import TINY_MODEL
from tests.fixtures.git import Git
from tests.fixtures.mirrors import MirrorPair
from tests.fixtures.server import Server

BIG_NBYTES = 3_000_000


def python(server: Server, code: str, **env: str) -> str:
    return server.run(sys.executable, "-c", textwrap.dedent(code), **env).stdout


def folder_with_files(base: Path, *, seed: int = 0) -> Path:
    folder = base / f"folder-{seed}"
    (folder / "nested").mkdir(parents=True)
    (folder / "config.json").write_text(f'{{"seed": {seed}}}')
    (folder / "nested/one.txt").write_text("one")
    (folder / "big.bin").write_bytes(os.urandom(BIG_NBYTES))
    return folder


def publish(pair: MirrorPair, name: str, folder: Path, kind: str = "model") -> str:
    """Upload to the upstream; the id of the commit."""
    pair.upstream.run("hf", "upload", name, str(folder), "--type", kind)
    return head_of(pair.upstream, name, kind)


def head_of(server: Server, name: str, kind: str = "model") -> str:
    answer = httpx.get(
        f"{server.url}/api/{kind}s/{name}", headers={"authorization": f"Bearer {server.token}"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["sha"]


def get(server: Server, path: str, *, token: str | None = "own", **headers: str) -> httpx.Response:
    if token is not None:
        headers["authorization"] = f"Bearer {server.token if token == 'own' else token}"
    return httpx.get(server.url + path, headers=headers, timeout=60)


def same_files(one: Path, other: Path) -> bool:
    names = [p.relative_to(one) for p in one.rglob("*") if p.is_file()]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("lane", ["xet", "lfs"])
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_download_is_the_upstreams_fetched_once_and_stored(
    mirrors: MirrorPair, tmp_path: Path, lane: str, kind: str
) -> None:
    name = f"clade/down-{lane}-{kind}"
    folder = folder_with_files(tmp_path)
    commit = publish(mirrors, name, folder, kind)
    env = {"HF_HUB_DISABLE_XET": "1"} if lane == "lfs" else {}
    before = mirrors.sent_nbytes()

    for turn in ("first", "second"):
        mirrors.forget_caches()
        mirrors.mirror.run(
            *("hf", "download", name, "--type", kind, "--local-dir", str(tmp_path / turn)), **env
        )
        mirrors.mirror.clade("jobs", "--wait")

    assert same_files(folder, tmp_path / "first")
    assert same_files(folder, tmp_path / "second")
    assert head_of(mirrors.mirror, name, kind) == commit
    assert mirrors.sent_nbytes() - before == BIG_NBYTES
    storage = get(mirrors.mirror, f"/api/clade/{kind}s/{name}/storage/main").json()
    assert storage["mirror"]["url"].startswith(mirrors.upstream.url)
    assert storage["mirror"]["awaited_files"] == 0


def test_snapshot_and_from_pretrained(mirrors: MirrorPair) -> None:
    python(
        mirrors.upstream,
        TINY_MODEL
        + """
tiny().push_to_hub("clade/tiny", max_shard_size="60KB")
tokenizer().push_to_hub("clade/tiny")
""",
    )

    out = python(
        mirrors.mirror,
        TINY_MODEL
        + """
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("clade/tiny", dtype=torch.bfloat16)
print(all(torch.equal(a, b) for a, b in
          zip(model.state_dict().values(), tiny().state_dict().values())))
AutoTokenizer.from_pretrained("clade/tiny")
print(snapshot_download("clade/tiny").rsplit("/", 1)[1] == HfApi().model_info("clade/tiny").sha)
""",
    )

    assert out.split()[-2:] == ["True", "True"]


def test_git_clone_through_the_mirror_has_the_same_commits_and_bytes(
    mirrors: MirrorPair, tmp_path: Path
) -> None:
    folder = folder_with_files(tmp_path)
    publish(mirrors, "clade/cloned", folder)
    (folder / "config.json").write_text("changed")
    commit = publish(mirrors, "clade/cloned", folder)
    git = Git(tmp_path / "home", mirrors.mirror.url, mirrors.mirror.token)

    clone = git.clone("clade/cloned", tmp_path / "clone")

    assert git(clone, "rev-parse", "HEAD").stdout.strip() == commit
    assert len(git(clone, "log", "--format=%H").stdout.split()) == 3
    git(clone, "fsck", "--strict")
    assert same_files(folder, clone)
    (clone / "config.json").write_text("mine")
    git.commit(clone)
    refused = git(clone, "push", check=False)
    assert refused.returncode != 0
    assert "read-only" in refused.stderr or "403" in refused.stderr


def test_every_question_is_answered_as_the_upstream_does(
    mirrors: MirrorPair, tmp_path: Path
) -> None:
    publish(mirrors, "clade/asked", folder_with_files(tmp_path))
    python(
        mirrors.upstream,
        """
        from huggingface_hub import HfApi
        api = HfApi()
        api.create_tag("clade/asked", tag="v1")
        api.create_branch("clade/asked", branch="other/one")
        """,
    )
    code = """
        from huggingface_hub import HfApi, hf_hub_url, get_hf_file_metadata
        api = HfApi()
        refs = api.list_repo_refs("clade/asked")
        print([(r.name, r.target_commit) for r in refs.branches + refs.tags])
        print([(e.path, getattr(e, "blob_id", None), getattr(e, "tree_id", None))
               for e in api.list_repo_tree("clade/asked", recursive=True)])
        print([(e.path, e.size, e.lfs and e.lfs.sha256)
               for e in api.get_paths_info("clade/asked", ["big.bin", "nested/one.txt"])])
        print([(c.commit_id, c.title) for c in api.list_repo_commits("clade/asked")])
        meta = get_hf_file_metadata(hf_hub_url("clade/asked", "big.bin", revision="other/one"))
        print(meta.etag, meta.size, meta.commit_hash)
        print(api.model_info("clade/asked", revision="v1").sha)
        """

    assert python(mirrors.mirror, code) == python(mirrors.upstream, code)


def test_a_branch_that_moves_is_followed(mirrors: MirrorPair, tmp_path: Path) -> None:
    folder = folder_with_files(tmp_path)
    first = publish(mirrors, "clade/moving", folder)
    assert head_of(mirrors.mirror, "clade/moving") == first
    (folder / "new.txt").write_text("new")

    second = publish(mirrors, "clade/moving", folder)

    assert head_of(mirrors.mirror, "clade/moving") == second
    old = get(mirrors.mirror, f"/clade/moving/resolve/{first}/new.txt")
    assert (old.status_code, old.headers["x-error-code"]) == (404, "EntryNotFound")
    assert get(mirrors.mirror, "/clade/moving/resolve/main/new.txt").text == "new"


def test_mirrors_are_read_only_until_deleted(mirrors: MirrorPair, tmp_path: Path) -> None:
    folder = folder_with_files(tmp_path)
    publish(mirrors, "clade/kept", folder)
    head_of(mirrors.mirror, "clade/kept")

    pushed = mirrors.mirror.run("hf", "upload", "clade/kept", str(folder), check=False)
    assert pushed.returncode != 0
    assert "mirrors" in pushed.stderr + pushed.stdout
    mirrors.mirror.run("hf", "repos", "delete", "clade/kept", "--yes")

    # A repo of the hub's own takes the name, and keeps it.
    (folder / "config.json").write_text("ours")
    python(
        mirrors.mirror,
        """
        from huggingface_hub import HfApi
        HfApi().create_repo("clade/kept")
        """,
    )
    mirrors.mirror.run("hf", "upload", "clade/kept", str(folder / "config.json"), "config.json")
    assert get(mirrors.mirror, "/clade/kept/resolve/main/config.json").text == "ours"
    assert "x-clade-mirror" not in get(mirrors.mirror, "/api/models/clade/kept").headers


def test_what_only_the_token_may_see_is_for_administrators_and_members(
    mirrors: MirrorPair,
) -> None:
    mirrors.mirror.clade("user", "create", "reader", "--token", "hf_reader")
    mirrors.upstream.clade("org", "create", "lab", "--admin", "clade")
    python(
        mirrors.upstream,
        """
        from huggingface_hub import HfApi
        for name in ("lab/secret", "clade/secret"):
            HfApi().create_repo(name, private=True)
        """,
    )

    def status(token: str | None) -> int:
        return get(mirrors.mirror, "/api/models/lab/secret", token=token).status_code

    assert (status("hf_reader"), status(None)) == (404, 401)
    assert status("own") == 200
    assert (status("hf_reader"), status(None)) == (404, 401)
    mirrors.mirror.clade("org", "member", "lab", "reader", "--role", "read")
    assert status("hf_reader") == 200
    # The owner's name is that of a user here, who is somebody else than the upstream's.
    taken = get(mirrors.mirror, "/api/models/clade/secret")
    assert (taken.status_code, taken.headers["x-error-code"]) == (403, "GatedRepo")


def test_strangers_cause_no_fetch(mirrors: MirrorPair, tmp_path: Path) -> None:
    publish(mirrors, "clade/unseen", folder_with_files(tmp_path))

    stranger = get(mirrors.mirror, "/api/models/clade/unseen", token=None)

    assert stranger.status_code == 401
    assert "signed in" in stranger.json()["error"]
    head_of(mirrors.mirror, "clade/unseen")
    assert get(mirrors.mirror, "/api/models/clade/unseen", token=None).status_code == 200


def test_upstream_gone_leaves_what_is_here(own_mirrors: MirrorPair, tmp_path: Path) -> None:
    pair = own_mirrors
    folder = folder_with_files(tmp_path)
    publish(pair, "clade/here", folder)
    publish(pair, "clade/half", folder_with_files(tmp_path, seed=1))
    pair.mirror.run("hf", "download", "clade/here")
    head_of(pair.mirror, "clade/half")

    pair.upstream.kill()

    pair.forget_caches()
    pair.mirror.run("hf", "download", "clade/here", "--local-dir", str(tmp_path / "offline"))
    assert same_files(folder, tmp_path / "offline")
    answer = get(pair.mirror, "/api/models/clade/here")
    assert "stale" in answer.headers["x-clade-mirror"]
    assert "cannot be reached" in answer.headers["x-hf-warning"]
    lacking = get(pair.mirror, "/clade/half/resolve/main/big.bin")
    assert (lacking.status_code, lacking.headers["x-error-code"]) == (503, "UpstreamDown")
    unknown = get(pair.mirror, "/api/models/clade/never-seen")
    assert (unknown.status_code, unknown.headers["x-error-code"]) == (503, "UpstreamDown")

    pair.upstream.start()
    fetched = get(pair.mirror, "/clade/half/resolve/main/big.bin")
    assert hashlib.sha256(fetched.content).hexdigest() == fetched.headers["etag"].strip('"')
