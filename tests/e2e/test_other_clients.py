"""Ways of fetching beside the everyday ones: inference servers, pipelines in folders, llama.cpp."""

import hashlib
import json
import re
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.e2e.test_old_clients import OldClient
from tests.fixtures.files import gguf_of, safetensors_of
from tests.fixtures.server import Server

LLAMA_CPP_TOKEN = re.compile(r"hf_[A-Za-z0-9]{34,253}")
"""What llama.cpp takes for a token; with anything else it asks as a stranger."""

LLAMA_CPP = {"User-Agent": "llama-cpp/b9012-ad0922a", "Accept": "application/json"}

# vLLM (weight_utils, repo_utils) and SGLang (weight_utils): list, choose by pattern, fetch, look.
SERVING = """
import fnmatch, json, os, sys
from pathlib import Path
from huggingface_hub import (HfApi, HfFileSystem, constants, file_exists, hf_hub_download,
                             list_repo_files, repo_exists, snapshot_download)
from huggingface_hub.utils import EntryNotFoundError

repo = sys.argv[1]
facts = {"exists": repo_exists(repo), "arch": HfApi().model_info(repo).config["architectures"]}
facts["files"] = [file_exists(repo, name) for name in ("config.json", "params.json")]
listed = HfFileSystem().ls(repo, detail=False, revision=None)
facts["weights"] = sorted(os.path.basename(n) for n in fnmatch.filter(listed, "*.safetensors"))
facts["globbed"] = HfFileSystem().glob(repo + "/*.safetensors") == fnmatch.filter(
    sorted(listed), "*.safetensors")
assert sorted(list_repo_files(repo)) == sorted(n.split("/", 2)[2] for n in
                                               HfFileSystem().find(repo))
try:
    hf_hub_download(repo, "generation_config.json")
except EntryNotFoundError as error:
    facts["missing"] = error.response.headers["X-Error-Code"]
metadata = HfApi().get_safetensors_metadata(repo)
facts["parameters"] = metadata.parameter_count
with HfFileSystem().open(repo + "/model-00002-of-00002.safetensors", "rb") as file:
    file.seek(-8, 2)
    facts["tail"] = file.read().hex()
index = hf_hub_download(repo, "model.safetensors.index.json")
patterns = {"allow_patterns": ["*.safetensors"], "ignore_patterns": ["original/*"]}
folder = snapshot_download(repo, **patterns)
facts["together"] = Path(index).parent == Path(folder)
facts["fetched"] = sorted(p.name for p in Path(folder).rglob("*") if not p.is_dir())
constants.HF_HUB_OFFLINE = True
facts["offline"] = snapshot_download(repo, **patterns) == folder
print(json.dumps(facts))
"""

# diffusers (DiffusionPipeline.download): parts of a model in folders, in variants.
FOLDERS = """
import json, sys
from pathlib import Path
from huggingface_hub import hf_hub_download, model_info, snapshot_download

repo = sys.argv[1]
index = json.loads(Path(hf_hub_download(repo, "model_index.json")).read_text())
names = {sibling.rfilename for sibling in model_info(repo).siblings}
parts = [name for name, value in index.items() if isinstance(value, list)]
wanted = [n for n in names if n.split("/")[0] in parts and ".fp16." in n]
wanted += [f"{part}/*.json" for part in parts] + ["model_index.json"]
folder = Path(snapshot_download(repo, allow_patterns=wanted, ignore_patterns=["*.bin"],
                                user_agent={"pipeline_class": index["_class_name"]}))
fetched = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
one = hf_hub_download(repo, "config.json", subfolder="unet")
pooling = hf_hub_download(repo, "config.json", subfolder="1_Pooling")
modules = json.loads(Path(hf_hub_download(repo, "modules.json")).read_text())
print(json.dumps([fetched, Path(one).read_text(), Path(pooling).read_text(), len(modules)]))
"""


def weights(name: str, seed: bytes, nbytes: int = 64 << 10) -> bytes:
    data = hashlib.shake_256(seed).digest(nbytes)
    return safetensors_of({name: ("F32", [nbytes // 4], data)})


def publish(server: Server, repo: str, folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    server.run("hf", "upload", repo, str(folder))
    return files


@pytest.mark.parametrize("client", ["current", "0.36.2"])
def test_inference_servers_choose_and_fetch(
    shared_server: Server, tmp_path: Path, client: str
) -> None:
    repo = f"clade/served-{client}"
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1]}}
    files = {
        "config.json": b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
        "model.safetensors.index.json": json.dumps(index).encode(),
        shards[0]: weights("a", b"a"),
        shards[1]: weights("b", b"b"),
        "original/consolidated.safetensors": weights("a", b"c"),
        "pytorch_model.bin": b"not wanted",
    }
    publish(shared_server, repo, tmp_path, files)
    python = sys.executable if client == "current" else str(OldClient(client).python())

    out = shared_server.run(
        *(python, "-c", SERVING, repo),
        HF_HUB_ENABLE_HF_TRANSFER="0",
        HF_HOME=str(tmp_path / "home"),
    ).stdout

    assert json.loads(out.splitlines()[-1]) == {
        "exists": True,
        "arch": ["LlamaForCausalLM"],
        "files": [True, False],
        "weights": shards,
        "globbed": True,
        "missing": "EntryNotFound",
        "parameters": {"F32": 2 * (64 << 10) // 4},
        "tail": files[shards[1]][-8:].hex(),
        "together": True,
        "fetched": sorted([*shards, "model.safetensors.index.json"]),
        "offline": True,
    }


def test_models_in_folders_are_fetched_by_part_and_variant(
    shared_server: Server, tmp_path: Path
) -> None:
    index = {"_class_name": "ToyPipeline", "unet": ["diffusers", "UNet"], "vae": ["diffusers", "V"]}
    files = {
        "model_index.json": json.dumps(index).encode(),
        "unet/config.json": b'{"part": "unet"}',
        "unet/diffusion_pytorch_model.safetensors": weights("w", b"unet"),
        "unet/diffusion_pytorch_model.fp16.safetensors": weights("w", b"unet half"),
        "unet/diffusion_pytorch_model.fp16.bin": b"not wanted",
        "vae/config.json": b'{"part": "vae"}',
        "vae/diffusion_pytorch_model.fp16.safetensors": weights("w", b"vae half"),
        "safety_checker/model.fp16.safetensors": weights("w", b"not in the index"),
        "modules.json": b'[{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]',
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    }
    publish(shared_server, "clade/folders", tmp_path, files)

    out = shared_server.run(sys.executable, "-c", FOLDERS, "clade/folders").stdout

    fetched, unet, pooling, modules = json.loads(out.splitlines()[-1])
    assert fetched == [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert (unet.encode(), pooling.encode()) == (
        files["unet/config.json"],
        files["1_Pooling/config.json"],
    )
    assert modules == 2


GGUF_FILES = (
    "toy-Q8_0.gguf",
    "toy-Q4_K_M.gguf",
    "split/toy-F16-00001-of-00002.gguf",
    "split/toy-F16-00002-of-00002.gguf",
    "mmproj-toy-F16.gguf",
    "ünï cödé 100%.gguf",
)


@pytest.fixture(scope="module")
def gguf(shared_server: Server, tmp_path_factory: pytest.TempPathFactory):
    """A private repo of GGUF files."""
    base = tmp_path_factory.mktemp("gguf")
    shared_server.run("hf", "repos", "create", "clade/Toy-GGUF", "--private")
    data = {name: hashlib.shake_256(name.encode()).digest(96 << 10) for name in GGUF_FILES}
    files = {name: gguf_of({"w": (24, [96 << 10], each)}) for name, each in data.items()}
    return publish(shared_server, "clade/Toy-GGUF", base, files)


@pytest.fixture
def http(shared_server: Server):
    assert LLAMA_CPP_TOKEN.fullmatch(shared_server.token)
    headers = LLAMA_CPP | {"Authorization": f"Bearer {shared_server.token}"}
    with httpx.Client(base_url=shared_server.url, headers=headers, timeout=60) as client:
        yield client


class TestLlamaCpp:
    """The requests of common/hf-cache.cpp and common/download.cpp, and of arg.cpp before them."""

    def test_finds_a_commit_its_files_and_fetches_them_in_pieces(
        self, gguf: dict[str, bytes], http: httpx.Client
    ) -> None:
        refs = http.get("/api/models/clade/Toy-GGUF/refs").json()
        (commit,) = [each["targetCommit"] for each in refs["branches"] if each["name"] == "main"]
        tree = http.get(f"/api/models/clade/Toy-GGUF/tree/{commit}?recursive=true").json()
        oids = {
            item["path"]: item.get("lfs", item)["oid"] for item in tree if item["type"] == "file"
        }

        assert gguf.keys() <= oids.keys()
        for path, data in gguf.items():
            address = f"/clade/Toy-GGUF/resolve/{commit}/{quote(path)}"
            head = http.head(address)
            assert head.status_code == 200
            assert head.headers["etag"].strip('"') == oids[path] == hashlib.sha256(data).hexdigest()
            assert head.headers["accept-ranges"] == "bytes"
            assert head.headers["content-length"] == str(len(data))
            rest = http.get(address, headers={"Range": "bytes=1000-"})
            assert (rest.status_code, rest.content) == (206, data[1000:])

    @pytest.mark.parametrize(
        ("tag", "chosen"),
        [
            ("latest", "toy-Q4_K_M.gguf"),
            ("q8_0", "toy-Q8_0.gguf"),
            ("Q4", "toy-Q4_K_M.gguf"),
            ("F16", "split/toy-F16-00001-of-00002.gguf"),
        ],
    )
    def test_older_ones_ask_for_a_quantisation(
        self, gguf: dict[str, bytes], http: httpx.Client, tag: str, chosen: str
    ) -> None:
        manifest = http.get(f"/v2/clade/Toy-GGUF/manifests/{tag}").json()

        assert manifest["ggufFile"]["rfilename"] == chosen
        assert manifest["ggufFile"]["size"] == len(gguf[chosen])
        assert manifest["mmprojFile"]["rfilename"] == "mmproj-toy-F16.gguf"

    def test_what_is_not_there_is_said_plainly(
        self, gguf: dict[str, bytes], http: httpx.Client
    ) -> None:
        missing = http.get("/v2/clade/Toy-GGUF/manifests/Q2_K")
        strange = httpx.get(f"{http.base_url}/v2/clade/Toy-GGUF/manifests/latest")

        assert (missing.status_code, missing.headers["x-error-code"]) == (404, "EntryNotFound")
        assert (strange.status_code, strange.headers["x-error-code"]) == (401, "RepoNotFound")
