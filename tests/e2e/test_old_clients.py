"""Clients of the 0 and 1 lines, from before and after Xet became the rule.

Up to 1.19 they ask the server which way to upload: the LFS batch offers ``xet`` among the transfers
and takes what the hub picks. ``upload_large_folder`` is known up to 1.33.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.environments import environment_python
from tests.fixtures.server import Server, embedded_server

pytestmark = pytest.mark.long

HF_XET = "hf-xet==1.8.0"
PART_NBYTES = 5 << 20

STORY = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, __version__, hf_hub_download, snapshot_download
from huggingface_hub.utils import HfHubHTTPError, RepositoryNotFoundError

repo, folder, copy = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
api, stranger = HfApi(), HfApi(token=False)
facts = {"version": __version__, "me": api.whoami()["name"]}

api.create_repo(repo)
api.create_repo(repo, exist_ok=True)
api.upload_folder(repo_id=repo, folder_path=str(folder))
snapshot_download(repo, local_dir=str(copy))
facts["lfs"] = [
    each.rfilename for each in api.model_info(repo, files_metadata=True).siblings if each.lfs
]

api.upload_file(path_or_fileobj=b"in memory", path_in_repo="added/in memory.txt", repo_id=repo)
facts["added"] = Path(hf_hub_download(repo, "added/in memory.txt")).read_text()
api.delete_file("config.json", repo)
api.delete_folder("deep", repo)
facts["left"] = sorted(api.list_repo_files(repo))

api.create_repo(repo + "-private", private=True)
api.upload_folder(repo_id=repo + "-private", folder_path=str(folder))
facts["private"] = api.model_info(repo + "-private").private
facts["fetched"] = Path(hf_hub_download(repo + "-private", "model.safetensors")).stat().st_size
for name in (repo + "-private", repo + "-missing"):
    try:
        stranger.model_info(name)
    except RepositoryNotFoundError as error:
        facts.setdefault("strangers", []).append(error.response.status_code)

api.upload_large_folder(repo_id=repo + "-large", folder_path=str(folder), repo_type="model")
facts["large"] = sorted(api.list_repo_files(repo + "-large"))

facts["may"] = api.whoami()["auth"]["accessToken"]["role"]
if hasattr(api, "update_repo_visibility"):
    facts["may"] = api.get_token_permission()
    api.update_repo_visibility(repo, private=True)
else:
    api.update_repo_settings(repo, private=True)
facts["hidden"] = api.repo_info(repo).private
api.create_repo(repo + "-space", repo_type="space", space_sdk="static")
twin = api.duplicate_space(repo + "-space", repo + "-twin").repo_id
facts["twin"] = api.list_repo_files(twin, repo_type="space")
try:
    api.request_space_storage(twin, "small")
except HfHubHTTPError as error:
    facts["no storage"] = [error.response.status_code, str(error)]
api.delete_repo(repo)
facts["exists"] = api.repo_exists(repo)
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class OldClient:
    """A release of huggingface_hub, with or without hf_xet beside it."""

    version: str
    has_xet: bool = True

    def __str__(self) -> str:
        return self.version if self.has_xet else f"{self.version}-without-xet"

    def python(self) -> Path:
        return environment_python(
            f"huggingface-hub-{self}",
            [f"huggingface_hub=={self.version}", HF_XET],
            without=() if self.has_xet else ["hf-xet"],
        )


ASKING = [OldClient("0.36.2"), OldClient("0.36.2", has_xet=False), OldClient("1.19.0")]
PLAYS = [(client, start) for client in ASKING for start in ("shared_server", "parts_server")]
PLAYS.append((OldClient("1.29.0"), "shared_server"))
SELDOM = [
    pytest.param(OldClient(version, has_xet=False), "shared_server", marks=pytest.mark.clients)
    for version in ("1.19.0", "1.29.0")
]
"""What others stand for well enough on most days: `make test-clients`."""


@pytest.fixture(scope="module")
def parts_server(tmp_path_factory: pytest.TempPathFactory):
    """A hub where a model of 12 MB is uploaded in three parts."""
    with embedded_server(
        tmp_path_factory.mktemp("parts"),
        CLADE_LIMITS__LFS_MULTIPART_NBYTES=str(10 << 20),
        CLADE_LIMITS__LFS_PART_NBYTES=str(PART_NBYTES),
    ) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model beyond what is sent inside a commit, and small files."""
    root = tmp_path / "model"
    (root / "deep").mkdir(parents=True)
    weights = random.Random(0).randbytes(12 << 20)
    facts = {"weight": {"dtype": "U8", "shape": [12 << 20], "data_offsets": [0, 12 << 20]}}
    header = json.dumps(facts).encode()
    (root / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    (root / "config.json").write_text('{"model_type": "toy"}')
    (root / "README.md").write_text("---\nlicense: mit\n---\n# Toy\n")
    (root / "deep" / "empty.txt").touch()
    (root / "deep" / "ünï cödé #1 100%.txt").write_text("kept")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Files by path, without those that clients leave behind."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def play(server: Server, client: OldClient, folder: Path, copy: Path) -> dict:
    home = server.home / str(client)
    done = server.run(
        *(str(client.python()), "-c", STORY, f"clade/toy-{client}", str(folder), str(copy)),
        HOME=str(home),
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("client", "start"), [*PLAYS, *SELDOM], ids=str)
def test_old_client_plays_the_whole_story(
    request: pytest.FixtureRequest, tmp_path: Path, client: OldClient, start: str, folder: Path
) -> None:
    running: Server = request.getfixturevalue(start)
    sent = contents(folder)

    facts = play(running, client, folder, tmp_path / "copy")

    assert contents(tmp_path / "copy").items() >= sent.items()
    assert facts.pop("version") == client.version
    status, says = facts.pop("no storage")
    assert status == 501
    assert "spaces are stored here, not run" in says
    assert facts == {
        "me": "clade",
        "lfs": ["model.safetensors"],
        "added": "in memory",
        "left": [".gitattributes", "README.md", "added/in memory.txt", "model.safetensors"],
        "private": True,
        "fetched": len(sent["model.safetensors"]),
        "strangers": [401, 401],
        "large": sorted([".gitattributes", *sent]),
        "may": "write",
        "hidden": True,
        "twin": [".gitattributes", "README.md"],
        "exists": False,
    }
    assert running.clade("fsck", "--deep").returncode == 0
