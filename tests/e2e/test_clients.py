"""The clients people have, unchanged: `hf` commands, huggingface_hub, transformers."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from tests.fixtures.server import Server

TINY_MODEL = """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
import torch

def tiny(seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, vocab_size=512)
    return LlamaForCausalLM(config).to(torch.bfloat16)

def tokenizer():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    raw.train_from_iterator(["a clade is an ancestor with all its descendants"] * 9,
                            trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"]))
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
"""


def python(server: Server, code: str, **env: str) -> str:
    """Run a user's script; what it prints."""
    return server.run(sys.executable, "-c", textwrap.dedent(code), **env).stdout


def test_login_and_whoami(shared_server: Server) -> None:
    shared_server.run("hf", "auth", "login", "--token", shared_server.token)

    said = shared_server.run("hf", "auth", "whoami").stdout

    assert "clade" in said


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_repos_are_created_listed_and_deleted(shared_server: Server, kind: str) -> None:
    name = f"clade/some-{kind}"
    shared_server.run("hf", "repos", "create", name, "--type", kind)
    again = shared_server.run("hf", "repos", "create", name, "--type", kind, check=False)
    assert again.returncode != 0
    shared_server.run("hf", "repos", "create", name, "--type", kind, "--exist-ok")

    shared_server.run("hf", "repos", "delete", name, "--type", kind, "--yes")

    gone = shared_server.run("hf", "download", name, "--type", kind, check=False)
    assert gone.returncode != 0


def test_download_by_pattern_and_by_revision(shared_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one.txt", "two.txt", "three.json"):
        (folder / name).write_text(f"{name}, first version")
    shared_server.run("hf", "upload", "clade/files", str(folder))
    first = json.loads(
        python(
            shared_server,
            """
            import json
            from huggingface_hub import HfApi
            print(json.dumps(HfApi().model_info("clade/files").sha))
            """,
        )
    )
    (folder / "one.txt").write_text("one.txt, second version")
    shared_server.run("hf", "upload", "clade/files", str(folder / "one.txt"), "one.txt")

    by_pattern, by_revision = tmp_path / "pattern", tmp_path / "revision"
    shared_server.run(
        "hf", "download", "clade/files", "--include", "*.json", "--local-dir", str(by_pattern)
    )
    shared_server.run(
        *("hf", "download", "clade/files", "one.txt", "--revision", first),
        *("--local-dir", str(by_revision)),
    )

    assert [p.name for p in by_pattern.iterdir() if p.is_file()] == ["three.json"]
    assert (by_revision / "one.txt").read_text() == "one.txt, first version"


@pytest.mark.parametrize(("lane", "seed"), [("xet", 1), ("lfs", 2)])
def test_transformers_push_and_load_in_shards(shared_server: Server, lane: str, seed: int) -> None:
    env = {"HF_HUB_DISABLE_XET": "1"} if lane == "lfs" else {}
    # Of a seed of its own: what is on the hub already would not be sent.
    names = f"REPO, SEED = 'clade/tiny-{lane}', {seed}"
    code = (
        TINY_MODEL
        + names
        + """
model = tiny(SEED)
model.push_to_hub(REPO, max_shard_size="60KB")
tokenizer().push_to_hub(REPO)
"""
    )
    python(shared_server, code, **env)
    shared_server.clade("jobs", "--wait")

    loaded = python(
        shared_server,
        TINY_MODEL
        + names
        + """
from huggingface_hub import HfApi
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(REPO, dtype=torch.bfloat16)
pairs = zip(model.state_dict().values(), tiny(SEED).state_dict().values())
same = all(torch.equal(a, b) for a, b in pairs)
shards = [f for f in HfApi().list_repo_files(REPO) if f.startswith("model-")]
tokenizer = AutoTokenizer.from_pretrained(REPO)
text = tokenizer.decode(tokenizer("a clade is")["input_ids"])
print(same, len(shards) > 1, text.strip())
""",
        **env,
    )

    assert loaded.split(maxsplit=2)[:2] == ["True", "True"]


def test_commit_with_adds_and_deletes_is_one_snapshot(shared_server: Server) -> None:
    out = python(
        shared_server,
        """
        import io
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        api = HfApi()
        api.create_repo("clade/mixed")
        api.create_commit("clade/mixed", [
            CommitOperationAdd("keep.txt", b"kept"),
            CommitOperationAdd("drop/me.txt", b"dropped"),
            CommitOperationAdd("big.bin", io.BytesIO(bytes(range(256)) * 50_000)),
        ], commit_message="one")
        api.create_commit("clade/mixed", [
            CommitOperationDelete("drop/"),
            CommitOperationAdd("new.txt", b"new"),
        ], commit_message="two")
        print(sorted(api.list_repo_files("clade/mixed")))
        print([c.title for c in api.list_repo_commits("clade/mixed")])
        """,
    )

    files, commits = out.splitlines()
    assert "drop/me.txt" not in files
    assert "keep.txt" in files
    assert "new.txt" in files
    assert commits == "['two', 'one', 'initial commit']"


def test_private_repo_does_not_exist_for_others(shared_server: Server) -> None:
    shared_server.clade("user", "create", "stranger", "--token", "hf_stranger")
    python(
        shared_server,
        """
        from huggingface_hub import HfApi
        api = HfApi()
        api.create_repo("clade/secret", private=True)
        api.upload_file(path_or_fileobj=b"hush", path_in_repo="a.txt", repo_id="clade/secret")
        """,
    )

    out = python(
        shared_server,
        """
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import RepositoryNotFoundError
        api = HfApi()
        print([m.id for m in api.list_models() if "secret" in m.id])
        for attempt in (lambda: api.model_info("clade/secret"),
                        lambda: hf_hub_download("clade/secret", "a.txt")):
            try:
                attempt()
            except RepositoryNotFoundError:
                print("not found")
        """,
        HF_TOKEN="hf_stranger",
    )

    assert out.splitlines() == ["[]", "not found", "not found"]
