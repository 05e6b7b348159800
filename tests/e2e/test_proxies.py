"""A hub behind nginx: on http and https at once, and under a path prefix."""

import json
import random
import shutil
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from tests.e2e.test_old_clients import OldClient
from tests.fixtures.git import Git
from tests.fixtures.proxy import HUB, documented_configs, make_certificate, nginx
from tests.fixtures.server import Server, embedded_server
from tests.fixtures.services import free_port

pytestmark = pytest.mark.long

STORY = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, constants, get_session, hf_hub_download, snapshot_download

repo, folder, copy = sys.argv[1], sys.argv[2], sys.argv[3]
api = HfApi()
facts = {"created": str(api.create_repo(repo)), "id": api.create_repo(repo, exist_ok=True).repo_id}
facts["commit"] = api.upload_folder(repo_id=repo, folder_path=folder).commit_url
snapshot_download(repo, local_dir=copy)

proposed = api.upload_file(path_or_fileobj=b"proposed", path_in_repo="a b/c.txt", repo_id=repo,
                           create_pr=True)
at = proposed.pr_revision
facts["proposed"] = Path(hf_hub_download(repo, "a b/c.txt", revision=at)).read_text()
facts["tree"] = [each.path for each in api.list_repo_tree(repo, "a b", revision=at)]

api.create_repo(repo + "-second")
pages = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1")
facts["next"] = pages.headers["link"]
facts["listed"] = len(list(api.list_models(author="clade", limit=2)))

api.move_repo(repo, repo + "-moved")
facts["moved"] = api.model_info(repo).id
facts["size"] = Path(hf_hub_download(repo, "model.safetensors")).stat().st_size
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class Front:
    """A hub as seen through its proxy."""

    server: Server
    authority: Path

    @property
    def trust(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self.authority), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Front]]:
    """The same hub over http and https, another one under a prefix."""
    base = tmp_path_factory.mktemp("proxied")
    certificate = make_certificate(base)
    http, https, prefixed = free_port(), free_port(), free_port()
    at_root, below = documented_configs()
    at_prefix = f"http://127.0.0.1:{prefixed}/hub"
    (base / "one").mkdir()
    (base / "two").mkdir()
    with (
        embedded_server(base / "one") as one,
        embedded_server(base / "two", CLADE_PUBLIC_URL=at_prefix) as two,
    ):
        at_root = (
            at_root.replace(HUB, one.url)
            .replace("listen 80", f"listen 127.0.0.1:{http}")
            .replace("listen 443", f"listen 127.0.0.1:{https}")
            .replace("/etc/ssl/hub.pem", str(certificate.chain))
            .replace("/etc/ssl/hub.key", str(certificate.key))
        )
        below = below.replace(HUB, two.url).replace("listen 80", f"listen 127.0.0.1:{prefixed}")
        with nginx(base / "nginx", at_root, below, ports=[http, https, prefixed]):
            urls = {
                "http": (one, f"http://127.0.0.1:{http}"),
                "https": (one, f"https://localhost:{https}"),
                "prefix": (two, at_prefix),
            }
            yield {
                name: Front(replace(hub, url=url), certificate.authority)
                for name, (hub, url) in urls.items()
            }


@pytest.fixture(params=["http", "https", "prefix"])
def front(request: pytest.FixtureRequest, fronts: dict[str, Front]) -> Front:
    return fronts[request.param]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model beyond what nginx lets through, keeps in memory, or the hub takes in a commit."""
    root = tmp_path_factory.mktemp("model")
    weights = random.Random(0).randbytes(12 << 20)
    facts = {"weight": {"dtype": "U8", "shape": [12 << 20], "data_offsets": [0, 12 << 20]}}
    header = json.dumps(facts).encode()
    (root / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    (root / "config.json").write_text('{"model_type": "toy"}')
    return root


@pytest.mark.parametrize("lane", ["xet", "lfs"])
def test_clients_work_through_the_proxy(
    front: Front, folder: Path, tmp_path: Path, lane: str
) -> None:
    server = front.server
    name = f"clade/{lane}-{server.url.partition(':')[0]}"
    env = front.trust | {"HF_HOME": str(tmp_path / "home")}
    if lane == "lfs":
        env["HF_HUB_DISABLE_XET"] = "1"

    out = server.run(
        sys.executable, "-c", STORY, name, str(folder), str(tmp_path / "copy"), **env
    ).stdout

    facts = json.loads(out.splitlines()[-1])
    assert facts.pop("commit").startswith(f"{server.url}/{name}/commit/")
    assert facts.pop("next").startswith(f"<{server.url}/api/models?")
    weights = (folder / "model.safetensors").read_bytes()
    assert facts == {
        "created": f"{server.url}/{name}",
        "id": name,
        "proposed": "proposed",
        "tree": ["a b/c.txt"],
        "listed": 2,
        "moved": f"{name}-moved",
        "size": len(weights),
    }
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == weights
    server.run("clade", "pull", f"{name}-moved", "--to", str(tmp_path / "pulled"), **env)
    assert (tmp_path / "pulled" / "model.safetensors").read_bytes() == weights


def test_git_and_its_big_files_go_through_the_proxy(
    front: Front, folder: Path, tmp_path: Path
) -> None:
    server = front.server
    name = f"clade/git-{server.url.partition(':')[0]}"
    server.run("hf", "repos", "create", name, **front.trust)
    git = Git(tmp_path / "git-home", server.url, server.token, user="clade")
    git(tmp_path, "config", "--global", "http.sslCAInfo", str(front.authority))
    clone = git.clone(name, tmp_path / "clone")
    shutil.copytree(folder, clone, dirs_exist_ok=True)
    for number in range(40):
        (clone / f"{number}.txt").write_bytes(random.Random(number).randbytes(50_000))
    head = git.commit(clone)
    told = git(clone, "push", "origin", "main").stderr
    assert "lock" not in told.lower()

    again = git.clone(f"{name}.git", tmp_path / "again")

    assert git(again, "rev-parse", "HEAD").stdout.strip() == head
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
    git(again, "fetch", "origin", "+main:refs/remotes/origin/other")


def test_ranges_pages_and_errors_pass_through(front: Front, folder: Path, tmp_path: Path) -> None:
    server = front.server
    name = f"clade/ranges-{server.url.partition(':')[0]}"
    server.run("hf", "upload", name, str(folder), **front.trust)
    weights = (folder / "model.safetensors").read_bytes()

    trust = ssl.create_default_context(cafile=front.authority)
    with httpx.Client(verify=trust, timeout=60) as client:
        address = f"{server.url}/{name}/resolve/main/model.safetensors"
        part = client.get(address, headers={"Range": "bytes=-1000"})
        head = client.head(address)
        missing = client.get(f"{server.url}/{name}/resolve/main/none")
        page = client.get(f"{server.url}/{name}").text
        home = client.get(f"{server.url}/").text

    assert (part.status_code, part.content) == (206, weights[-1000:])
    assert head.headers["content-length"] == str(len(weights))
    assert head.headers["link"].startswith(f"<{server.url}/api/models/{name}/xet-read-token/")
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "EntryNotFound")
    root = httpx.URL(server.url).path.rstrip("/")
    assert f'href="{root}/{name}/resolve/' in page
    assert f'href="{root}/{name}"' in home


def test_old_clients_trust_what_they_are_told_to(
    fronts: dict[str, Front], folder: Path, tmp_path: Path
) -> None:
    front = fronts["https"]
    code = """
        import sys
        from huggingface_hub import HfApi, hf_hub_download
        HfApi().create_repo("clade/trust")
        HfApi().upload_folder(repo_id="clade/trust", folder_path=sys.argv[1])
        print(hf_hub_download("clade/trust", "model.safetensors"))
        """
    python = str(OldClient("0.36.2").python())
    authority = str(front.authority)
    env = front.trust | {"REQUESTS_CA_BUNDLE": authority, "HF_HOME": str(tmp_path)}

    out = front.server.run(python, "-c", dedent(code), str(folder), **env).stdout

    fetched = Path(out.splitlines()[-1])
    assert fetched.read_bytes() == (folder / "model.safetensors").read_bytes()
