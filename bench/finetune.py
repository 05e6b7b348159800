"""Real fine-tunes of a sentence encoder on the docstrings of the running Python.

The objective is the in-batch contrastive loss of Sentence-BERT (Reimers and Gurevych 2019; scale
20): a function's signature and its docstring belong together. Weights are trained in fp32 and
saved afterwards in the type the caller wants.
"""

import ast
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import PreTrainedModel

TOKENS_PER_TEXT = 32
SCALE = 20.0
WARMUP_STEPS = 4

Pair = tuple[str, str]


@dataclass(frozen=True)
class Training:
    """How one fine-tune is trained. ``batch`` counts pairs, ``seed`` fixes data and dropout."""

    lr: float
    steps: int
    seed: int
    batch: int = 8


def docstring_pairs(modules: int = 160) -> list[Pair]:
    """Pairs (signature, docstring) from the first ``modules`` files of the standard library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    pairs: list[Pair] = []
    for path in sorted(library.glob("*.py"))[:modules]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pairs.extend(_pairs_of(tree, path.stem))
    return pairs


def _pairs_of(tree: ast.Module, module: str) -> Iterator[Pair]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node)
        if text is None or len(text) < 30:
            continue
        arguments = node.args.args if isinstance(node, ast.FunctionDef) else []
        names = ", ".join(argument.arg for argument in arguments)
        yield f"{module}.{node.name}({names})", " ".join(text.split())


def train(
    model: torch.nn.Module,
    tokenizer,
    pairs: Sequence[Pair],
    training: Training,
) -> list[float]:
    """Train the parameters of ``model`` that require a gradient; return the loss of each step.

    AdamW, linear warm-up and decay, dropout on. The same arguments on the same machine give the
    same weights bit for bit (single-threaded kernels, seeds fixed).
    """
    torch.manual_seed(training.seed)
    chance = random.Random(training.seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=training.lr, weight_decay=0.01, fused=True)
    model.train()
    losses = []
    for step in range(training.steps):
        rate = min(1.0, (step + 1) / WARMUP_STEPS) * (1 - 0.9 * step / training.steps)
        for group in optimizer.param_groups:
            group["lr"] = training.lr * rate
        left, right = zip(*chance.sample(pairs, training.batch), strict=True)
        vectors = _embed(model, tokenizer, [*left, *right])
        scores = vectors[: training.batch] @ vectors[training.batch :].T * SCALE
        loss = cross_entropy(scores, torch.arange(training.batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


def _embed(model: torch.nn.Module, tokenizer, texts: list[str]) -> torch.Tensor:
    """Mean-pooled, normalised sentence vectors."""
    inputs = tokenizer(
        texts,
        truncation=True,
        max_length=TOKENS_PER_TEXT,
        padding="max_length",
        return_tensors="pt",
    )
    hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def freeze_below(model: torch.nn.Module, trained_layers: int) -> None:
    """Leave only the last ``trained_layers`` encoder layers trainable."""
    layers = list(model.get_submodule("encoder.layer").children())
    model.requires_grad_(False)
    for layer in layers[-trained_layers:]:
        layer.requires_grad_(True)


def with_lora(model: PreTrainedModel, rank: int, seed: int) -> Any:
    """The model wrapped in LoRA adapters on every attention projection (peft)."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=["query", "key", "value"]
    )
    return get_peft_model(model, config)


def extend_vocabulary(model: PreTrainedModel, tokenizer, words: Sequence[str], seed: int) -> int:
    """Add ``words`` to the tokenizer and rows for them to the embedding; return the rows added.

    New rows are drawn around the mean of the existing ones, as transformers does by default.
    """
    torch.manual_seed(seed)
    added = tokenizer.add_tokens([word for word in words if word not in tokenizer.get_vocab()])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=True)
    return added
