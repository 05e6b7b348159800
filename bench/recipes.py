"""What is in the demo corpus and how each model of it is made.

A branch is one training run and the repositories saved from it. Branches are independent, so they
can run in separate processes; torch runs single-threaded in each, which also fixes the result.
"""

import collections
import copy
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.corpus import NAMESPACE
from bench.finetune import (
    Pair,
    Training,
    docstring_pairs,
    extend_vocabulary,
    freeze_below,
    train,
    with_lora,
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


@dataclass(frozen=True)
class Repo:
    """One repository: ``base`` is what it was really made from, ``declared`` what its card says."""

    name: str
    base: str | None
    declared: str | None
    about: str


REPOS = (
    Repo("minilm-fp32", None, None, "the base as published, fp32"),
    Repo("minilm", None, None, "the base cast to bf16"),
    Repo("minilm-docs", "minilm", "minilm", "full fine-tune, lr 2e-5"),
    Repo("minilm-docs-fp32", "minilm-fp32", "minilm-fp32", "the same fine-tune saved in fp32"),
    Repo("minilm-docs-v2", "minilm", None, "trained on from minilm-docs; the card names no base"),
    Repo("minilm-code", "minilm", "minilm", "full fine-tune, lr 1e-4"),
    Repo("minilm-code-sharded", "minilm", "minilm", "minilm-code saved again in three shards"),
    Repo("minilm-lora", "minilm", "minilm", "LoRA rank 16 on attention, merged"),
    Repo("minilm-head", "minilm", "minilm", "only the last two layers trained"),
    Repo("minilm-vocab", "minilm", "minilm", "64 words added to the vocabulary, then trained"),
)
ABOUT = {repo.name: repo for repo in REPOS}


@dataclass(frozen=True)
class Recipe:
    """Steps, rates and seeds of every training run; part of the name of the cache."""

    full: Training = field(default_factory=lambda: Training(lr=2e-5, steps=40, seed=1))
    longer: Training = field(default_factory=lambda: Training(lr=2e-5, steps=20, seed=2))
    strong: Training = field(default_factory=lambda: Training(lr=1e-4, steps=40, seed=3))
    lora: Training = field(default_factory=lambda: Training(lr=5e-4, steps=48, seed=4))
    head: Training = field(default_factory=lambda: Training(lr=5e-5, steps=60, seed=5))
    vocab: Training = field(default_factory=lambda: Training(lr=5e-5, steps=30, seed=6))
    rank: int = 16
    trained_layers: int = 2
    words: int = 64
    modules: int = 160
    shard_nbytes: int = 16_000_000


class Workshop:
    """One branch at work: loads the base, saves results as repositories under ``out``."""

    def __init__(self, base: Path, out: Path, recipe: Recipe) -> None:
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        self.base, self.out, self.recipe = base, out, recipe
        self.model = AutoModel.from_pretrained(base, dtype=torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self._pairs: list[Pair] | None = None

    @property
    def pairs(self) -> list[Pair]:
        if self._pairs is None:
            self._pairs = docstring_pairs(self.recipe.modules)
        return self._pairs

    def train(self, training: Training, model: torch.nn.Module | None = None) -> None:
        """Train ``model`` (default: the branch's own) on the docstrings."""
        train(model or self.model, self.tokenizer, self.pairs, training)

    def save(self, name: str, dtype: torch.dtype, shard_nbytes: int = 10**12) -> None:
        """Save the model as repository ``name``: weights, config, tokenizer, card."""
        directory = self.out / name
        directory.mkdir(parents=True)
        cast = copy.deepcopy(self.model).to(dtype)
        cast.save_pretrained(directory, max_shard_size=shard_nbytes)
        for file in TOKENIZER_FILES:
            if (self.base / file).exists():
                shutil.copyfile(self.base / file, directory / file)
        write_card(directory, ABOUT[name])


def write_card(directory: Path, repo: Repo) -> None:
    """Write the model card with its front matter."""
    lines = ["---", "library_name: transformers", "license: apache-2.0"]
    if repo.declared:
        lines.append(f"base_model: {NAMESPACE}/{repo.declared}")
    lines += ["---", f"# {repo.name}", "", f"Demo corpus of Clade: {repo.about}.", ""]
    (directory / "README.md").write_text("\n".join(lines), encoding="utf-8")


def make_bases(shop: Workshop) -> None:
    """The base as published, byte for byte, and its bf16 cast."""
    shutil.copytree(shop.base, shop.out / "minilm-fp32", copy_function=shutil.copyfile)
    shop.save("minilm", torch.bfloat16)


def make_full(shop: Workshop) -> None:
    """A gentle full fine-tune, its fp32 twin, and a fine-tune of the fine-tune."""
    shop.train(shop.recipe.full)
    shop.save("minilm-docs", torch.bfloat16)
    shop.save("minilm-docs-fp32", torch.float32)
    shop.train(shop.recipe.longer)
    shop.save("minilm-docs-v2", torch.bfloat16)


def make_strong(shop: Workshop) -> None:
    """A full fine-tune at five times the rate, and the same weights in shards."""
    shop.train(shop.recipe.strong)
    shop.save("minilm-code", torch.bfloat16)
    shop.save("minilm-code-sharded", torch.bfloat16, shop.recipe.shard_nbytes)


def make_lora(shop: Workshop) -> None:
    """A LoRA fine-tune merged into the weights."""
    adapted = with_lora(shop.model, shop.recipe.rank, shop.recipe.lora.seed)
    shop.train(shop.recipe.lora, adapted)
    shop.model = adapted.merge_and_unload()
    shop.save("minilm-lora", torch.bfloat16)


def make_head(shop: Workshop) -> None:
    """Only the last layers move; the rest stays equal to the base."""
    freeze_below(shop.model, shop.recipe.trained_layers)
    shop.train(shop.recipe.head)
    shop.save("minilm-head", torch.bfloat16)


def make_vocab(shop: Workshop) -> None:
    """New words of the domain get rows of their own, then everything is trained."""
    words = domain_words(shop.pairs, set(shop.tokenizer.get_vocab()), shop.recipe.words)
    extend_vocabulary(shop.model, shop.tokenizer, words, shop.recipe.vocab.seed)
    shop.train(shop.recipe.vocab)
    shop.save("minilm-vocab", torch.bfloat16)
    shop.tokenizer.save_pretrained(shop.out / "minilm-vocab")


def domain_words(pairs: Sequence[Pair], known: set[str], count: int) -> list[str]:
    """The ``count`` most frequent words of the pairs that the vocabulary lacks."""
    found: collections.Counter[str] = collections.Counter()
    for pair in pairs:
        found.update(word for text in pair for word in re.findall(r"[a-z]{4,}", text.lower()))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ranked if word not in known][:count]


# The longest branch first: two workers then finish at about the same time.
BRANCHES: tuple[Callable[[Workshop], None], ...] = (
    make_full,
    make_strong,
    make_vocab,
    make_lora,
    make_head,
    make_bases,
)


def run_branch(number: int, base: Path, out: Path, recipe: Recipe) -> str:
    """Run one branch in this process and return its name."""
    branch = BRANCHES[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and peft deprecations are not ours to report
        branch(Workshop(base, out, recipe))
    return branch.__name__
