"""Everyday flows of today's clients, each with repositories of its own on one hub."""

import hashlib
import json
import os
import random
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.server import Server, embedded_server

pytestmark = pytest.mark.long

BOUNDARY_NBYTES = 10 << 20
ODD_NAMES = [
    "with space.txt",
    "ünï-çødé-模型.txt",
    "#hash.txt",
    "100%.txt",
    "%2F.txt",
    "a+b&c=d?.txt",
    'quote\'s "double".txt',
    "[brackets]{braces}.txt",
    "deep #1/in side/~tilde.txt",
    "semi;colon,comma.txt",
]


def python(server: Server, code: str, *arguments: str, **env: str) -> str:
    """Run a user's script; what it prints."""
    return server.run(sys.executable, "-c", textwrap.dedent(code), *arguments, **env).stdout


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def download(server: Server, repo: str, to: Path, *options: str) -> dict[str, bytes]:
    server.run("hf", "download", repo, "--local-dir", str(to), *options)
    found = read(to)
    found.pop(".gitattributes", None)
    return found


def test_patterns_choose_what_a_snapshot_holds(shared_server: Server, tmp_path: Path) -> None:
    files = {"a.json": b"{}", "b.txt": b"b", "onnx/c.json": b"[]", "onnx/d.bin": b"d"}
    folder = write(tmp_path / "folder", files)
    shared_server.run("hf", "upload", "clade/patterns", str(folder))

    out = python(
        shared_server,
        """
        import os, sys
        from huggingface_hub import snapshot_download
        for options in ({"allow_patterns": ["*.json"]}, {"allow_patterns": "onnx/*"},
                        {"ignore_patterns": ["*.json", ".git*"]}):
            root = snapshot_download("clade/patterns", **options,
                                     local_dir=f"{sys.argv[1]}/{len(str(options))}")
            print(sorted(os.path.relpath(os.path.join(at, name), root)
                         for at, _, names in os.walk(root) if ".cache" not in at
                         for name in names))
        """,
        str(tmp_path),
    )

    assert out.splitlines() == [
        "['a.json', 'onnx/c.json']",
        "['onnx/c.json', 'onnx/d.bin']",
        "['b.txt', 'onnx/d.bin']",
    ]


def test_upload_to_a_subpath_with_exclude_and_delete(shared_server: Server, tmp_path: Path) -> None:
    files = {"old.log": b"log", "keep.txt": b"1", "skip.tmp": b"t"}
    folder = write(tmp_path / "folder", files)
    upload = ("hf", "upload", "clade/subpath")

    shared_server.run(*upload, str(folder), "runs/1", "--exclude", "*.tmp")
    shared_server.run(*upload, str(folder / "keep.txt"), "deep/er/renamed.txt")
    (folder / "keep.txt").write_bytes(b"2")
    (folder / "old.log").unlink()
    shared_server.run(*upload, str(folder), "runs/1", "--exclude", "*.tmp", "--delete", "*.log")

    assert download(shared_server, "clade/subpath", tmp_path / "copy") == {
        "runs/1/keep.txt": b"2",
        "deep/er/renamed.txt": b"1",
    }


def test_upload_private_makes_a_private_repo(shared_server: Server, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a.txt": b"a"})
    shared_server.run("hf", "upload", "clade/hidden", str(folder), "--private")

    anonymous = {"HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    refused = shared_server.run(
        *("hf", "download", "clade/hidden", "--local-dir", str(tmp_path / "none")),
        check=False,
        **anonymous,
    )

    assert refused.returncode != 0
    assert download(shared_server, "clade/hidden", tmp_path / "copy") == {"a.txt": b"a"}


def test_dataset_is_uploaded_downloaded_and_read(shared_server: Server, tmp_path: Path) -> None:
    files = {"data/train.csv": b"text,label\nclade,1\n", "README.md": b"---\nlicense: mit\n---\n"}
    folder = write(tmp_path / "folder", files)
    shared_server.run("hf", "upload", "clade/rows", str(folder), "--type", "dataset")

    copy = download(shared_server, "clade/rows", tmp_path / "copy", "--type", "dataset")
    out = python(
        shared_server,
        """
        import csv
        from huggingface_hub import HfApi, HfFileSystem, hf_hub_download
        path = hf_hub_download("clade/rows", "data/train.csv", repo_type="dataset")
        print(list(csv.DictReader(open(path))))
        print(HfApi().dataset_info("clade/rows").id, HfApi().repo_exists("clade/rows"))
        with HfFileSystem().open("datasets/clade/rows/data/train.csv") as file:
            print(file.read(4), file.seek(11), file.read(5))
        """,
    )

    assert copy == files
    assert out.splitlines() == [
        "[{'text': 'clade', 'label': '1'}]",
        "clade/rows False",
        "b'text' 11 b'clade'",
    ]


def test_folder_of_300_small_files(shared_server: Server, tmp_path: Path) -> None:
    files = {f"part-{n // 100}/{n:03}.txt": f"file {n}".encode() for n in range(300)}
    folder = write(tmp_path / "folder", files)

    python(
        shared_server,
        """
        import sys
        from huggingface_hub import HfApi
        HfApi().create_repo("clade/many")
        HfApi().upload_folder(repo_id="clade/many", folder_path=sys.argv[1])
        """,
        str(folder),
    )

    assert download(shared_server, "clade/many", tmp_path / "copy") == files


def test_files_come_by_branch_tag_and_short_commit_id(shared_server: Server) -> None:
    out = python(
        shared_server,
        """
        from pathlib import Path
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import RevisionNotFoundError
        api = HfApi()
        api.create_repo("clade/revisions")
        def put(text, **where):
            return api.upload_file(path_or_fileobj=text.encode(), path_in_repo="f.txt",
                                   repo_id="clade/revisions", **where).oid
        first = put("one")
        api.create_tag("clade/revisions", tag="v1.0")
        api.create_branch("clade/revisions", branch="feature/new")
        put("branch", revision="feature/new")
        put("two")
        for revision in (None, "main", "v1.0", "feature/new", first, first[:7],
                         "refs/heads/main", "refs/tags/v1.0"):
            path = hf_hub_download("clade/revisions", "f.txt", revision=revision)
            print(Path(path).read_text())
        try:
            hf_hub_download("clade/revisions", "f.txt", revision="nope")
        except RevisionNotFoundError:
            print("no such revision")
        """,
    )

    assert out.split("\n")[:-1] == [
        *("two", "two", "one", "branch", "one", "one", "two", "one"),
        "no such revision",
    ]


@pytest.mark.parametrize("lane", ["xet", "lfs"])
def test_second_push_sends_what_changed_only(
    shared_server: Server, tmp_path: Path, lane: str
) -> None:
    env = {"HF_HUB_DISABLE_XET": "1"} if lane == "lfs" else {}
    repo = f"clade/twice-{lane}"
    weights = random.Random(lane).randbytes(12 << 20)
    folder = write(tmp_path / "folder", {"model.bin": weights, "a.txt": b"1", "b.txt": b"1"})
    shared_server.run("hf", "upload", repo, str(folder), **env)
    logical = json.loads(shared_server.clade("stats", "--json").stdout)["logical_bytes"]

    again = shared_server.run("hf", "upload", repo, str(folder), **env)
    (folder / "a.txt").write_bytes(b"2")
    shared_server.run("hf", "upload", repo, str(folder), **env)

    commits = python(
        shared_server,
        f"""
        from huggingface_hub import HfApi
        print(len(HfApi().list_repo_commits("{repo}")))
        """,
    )
    assert again.returncode == 0
    assert commits.strip() == "3"  # the initial one, the first and the third upload
    assert json.loads(shared_server.clade("stats", "--json").stdout)["logical_bytes"] == logical + 1
    assert download(shared_server, repo, tmp_path / "copy")["a.txt"] == b"2"


def test_size_alone_decides_at_ten_mebibytes(shared_server: Server, tmp_path: Path) -> None:
    files = {
        "below.dat": random.Random(1).randbytes(BOUNDARY_NBYTES - 1),
        "at.dat": random.Random(2).randbytes(BOUNDARY_NBYTES),
        "above.dat": random.Random(3).randbytes(BOUNDARY_NBYTES + 1),
        "empty.dat": b"",
        "empty.safetensors": b"",
        "small.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
    }
    folder = write(tmp_path / "folder", files)
    shared_server.run("hf", "upload", "clade/boundary", str(folder))

    out = python(
        shared_server,
        """
        from huggingface_hub import HfApi
        info = HfApi().model_info("clade/boundary", files_metadata=True)
        print(sorted(each.rfilename for each in info.siblings if each.lfs))
        """,
    )

    assert out.strip() == "['above.dat', 'at.dat', 'small.safetensors']"
    assert download(shared_server, "clade/boundary", tmp_path / "copy") == files


@pytest.mark.parametrize("way", ["folder", "single"])
def test_odd_names_come_back(shared_server: Server, tmp_path: Path, way: str) -> None:
    repo = f"clade/odd-names-{way}"
    files = {name: name.encode() for name in ODD_NAMES}
    folder = write(tmp_path / "folder", files)
    if way == "folder":
        shared_server.run("hf", "upload", repo, str(folder))
    else:
        for name in files:
            shared_server.run("hf", "upload", repo, str(folder / name), name)

    out = python(
        shared_server,
        """
        import json, sys
        from pathlib import Path
        from huggingface_hub import HfApi, hf_hub_download
        repo, *names = sys.argv[1:]
        for name in names:
            assert Path(hf_hub_download(repo, name)).read_text() == name, name
            assert HfApi().file_exists(repo, name)
        print(json.dumps([each.path for each in HfApi().get_paths_info(repo, names)]))
        print(json.dumps([each.path for each in HfApi().list_repo_tree(repo, "deep #1/in side")]))
        """,
        repo,
        *files,
    )
    found, below = map(json.loads, out.splitlines())

    assert sorted(found) == sorted(files)
    assert below == ["deep #1/in side/~tilde.txt"]
    assert download(shared_server, repo, tmp_path / "copy") == files
    pulled = tmp_path / "pulled"
    shared_server.run("clade", "pull", repo, "--to", str(pulled), "--endpoint", shared_server.url)
    assert read(pulled).items() >= files.items()


@pytest.fixture(scope="module")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A hub where LFS uploads beyond 1 MiB go in parts of 1 MiB."""
    with embedded_server(
        tmp_path_factory.mktemp("parts"),
        CLADE_LIMITS__LFS_MULTIPART_NBYTES=str(1 << 20),
        CLADE_LIMITS__LFS_PART_NBYTES=str(1 << 20),
    ) as running:
        yield running


@pytest.mark.parametrize("nbytes", [1 << 20, (1 << 20) + 1, 7 << 20, (7 << 20) + 12345])
def test_multipart_upload_comes_back(small_parts: Server, tmp_path: Path, nbytes: int) -> None:
    data = random.Random(nbytes).randbytes(nbytes)
    folder = write(tmp_path / "folder", {"model.safetensors": data})
    repo = f"clade/parts-{nbytes}"
    small_parts.run("hf", "upload", repo, str(folder), HF_HUB_DISABLE_XET="1")

    assert download(small_parts, repo, tmp_path / "copy") == {"model.safetensors": data}
    assert small_parts.clade("fsck", "--deep").returncode == 0


def test_metrics_follow_real_traffic(server: Server, tmp_path: Path) -> None:
    data = os.urandom(11 << 20)
    folder = write(tmp_path / "folder", {"model.bin": data, "a.txt": b"a"})
    server.run("hf", "upload", "clade/measured", str(folder))
    server.clade("jobs", "--wait")
    assert download(server, "clade/measured", tmp_path / "copy")["model.bin"] == data

    text = python(
        server,
        """
        import urllib.request, os
        print(urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/metrics").read().decode())
        """,
    )

    assert total(text, "clade_http_received_bytes_total") > len(data)
    assert total(text, "clade_http_sent_bytes_total") > len(data)
    assert total(text, "clade_http_requests_total") > 10
    assert total(text, "clade_logical_bytes") >= len(data)
    assert total(text, "clade_stored_bytes") >= len(data)
    assert 'state="failed"' not in text
    assert total(text, "clade_repos") == 1
    assert hashlib.sha256(data).hexdigest() not in text


def total(text: str, name: str) -> float:
    """Sum of a metric over its labels, or the value of one series."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return sum(float(value) for key, _, value in lines if key == name or key.split("{")[0] == name)
