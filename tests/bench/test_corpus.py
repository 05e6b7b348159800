"""The corpus generator on a toy base: complete, deterministic, loadable."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, BertConfig, BertModel

from bench.corpus import Corpus, base_model_directory, ensure, generate, list_files
from bench.finetune import Training
from bench.recipes import REPOS, Recipe

ONE_STEP = Training(lr=1e-3, steps=1, seed=7, batch=2)
TINY = Recipe(
    full=ONE_STEP,
    longer=ONE_STEP,
    strong=ONE_STEP,
    lora=ONE_STEP,
    head=ONE_STEP,
    vocab=ONE_STEP,
    rank=2,
    trained_layers=1,
    words=3,
    modules=3,
    shard_nbytes=100_000,
)


@pytest.fixture(scope="module")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers with the real tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(base_model_directory() / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, toy_base: Path) -> Corpus:
    out = tmp_path_factory.mktemp("corpus") / "one"
    return generate(out, base=toy_base, recipe=TINY, workers=0)


def tensors(corpus: Corpus, name: str) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted((corpus.directory / name).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return found


def test_same_recipe_gives_same_bytes(corpus: Corpus, toy_base: Path, tmp_path: Path) -> None:
    again = generate(tmp_path / "two", base=toy_base, recipe=TINY, workers=0)

    assert again.repos == corpus.repos


def test_manifest_tells_what_is_on_disk(corpus: Corpus) -> None:
    assert [repo.name for repo in corpus.repos] == [repo.name for repo in REPOS]
    for repo in corpus.repos:
        assert repo.files == list_files(corpus.folder(repo))


def test_complete_corpus_is_not_made_again(corpus: Corpus) -> None:
    before = (corpus.directory / "corpus.json").stat().st_mtime_ns

    assert ensure(corpus.directory).repos == corpus.repos
    assert (corpus.directory / "corpus.json").stat().st_mtime_ns == before


def test_base_is_published_bytes(corpus: Corpus, toy_base: Path) -> None:
    assert list_files(corpus.directory / "minilm-fp32") == list_files(toy_base)


def test_every_model_loads(corpus: Corpus) -> None:
    for repo in corpus.repos:
        AutoModel.from_pretrained(corpus.folder(repo), dtype="auto")


def test_cards_declare_their_base_except_the_silent_one(corpus: Corpus) -> None:
    declaring = {
        repo.name
        for repo in corpus.repos
        if (card := corpus.folder(repo) / "README.md").exists()
        and "base_model: acme/" in card.read_text()
    }

    assert declaring == {repo.name for repo in REPOS if repo.declared}
    assert "minilm-docs-v2" not in declaring


def test_twin_is_the_same_fine_tune_in_fp32(corpus: Corpus) -> None:
    narrow, wide = tensors(corpus, "minilm-docs"), tensors(corpus, "minilm-docs-fp32")

    assert all(torch.equal(wide[name].bfloat16(), narrow[name]) for name in narrow)
    assert {tensor.dtype for tensor in wide.values()} == {torch.float32}


def test_shards_hold_the_same_tensors(corpus: Corpus) -> None:
    whole, shards = tensors(corpus, "minilm-code"), tensors(corpus, "minilm-code-sharded")
    index = corpus.directory / "minilm-code-sharded" / "model.safetensors.index.json"

    assert whole.keys() == shards.keys() == json.loads(index.read_text())["weight_map"].keys()
    assert all(torch.equal(whole[name], shards[name]) for name in whole)


def test_head_leaves_lower_layers_alone(corpus: Corpus) -> None:
    base, tuned = tensors(corpus, "minilm"), tensors(corpus, "minilm-head")
    moved = {name for name in base if not torch.equal(base[name], tuned[name])}

    assert moved
    assert all(name.startswith("encoder.layer.1.") for name in moved)


def test_lora_moves_attention_only(corpus: Corpus) -> None:
    base, tuned = tensors(corpus, "minilm"), tensors(corpus, "minilm-lora")
    moved = {name for name in base if not torch.equal(base[name], tuned[name])}

    assert moved
    assert all(".attention.self." in name for name in moved)


def test_vocabulary_grows_at_the_end(corpus: Corpus) -> None:
    name = "embeddings.word_embeddings.weight"
    base, tuned = tensors(corpus, "minilm")[name], tensors(corpus, "minilm-vocab")[name]
    config = json.loads((corpus.directory / "minilm-vocab" / "config.json").read_text())

    assert len(tuned) == len(base) + TINY.words == config["vocab_size"]
