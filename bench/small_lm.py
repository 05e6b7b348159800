"""A small Llama trained on the source of the running Python, and fine-tunes of it.

    python -m bench.small_lm        # train what is missing and say where it is

The base is trained from nothing on the modules at the top of the standard library and rounded to
BF16, as published models are; every sibling starts from there and is trained on the library's
packages. All are kept in a cache directory. Deterministic for one machine and one version of torch
and transformers: one thread, fixed seeds.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BASE = "base"
TEXT_NBYTES = 6_000_000
STRIDE = 50_000
"""Characters that are tokenised at once."""
SKIPPED = frozenset({"site-packages", "test", "tests", "idlelib", "__pycache__"})


@dataclass(frozen=True)
class Sibling:
    """One fine-tune: peak learning rate, steps, what is trained, and the dtypes it is saved in."""

    name: str
    lr: float
    steps: int
    trains: str = "all"
    """``all``, ``lora`` (rank 16, merged) or ``last`` (two blocks and the head)."""
    dtypes: tuple[str, ...] = ("BF16",)
    seed: int = 1


@dataclass(frozen=True)
class Plan:
    """The shape of the model and every training run; part of the name of the cache."""

    hidden: int = 256
    layers: int = 4
    vocabulary: int = 4096
    batch: int = 4
    context: int = 128
    base_lr: float = 1e-3
    base_steps: int = 300
    siblings: tuple[Sibling, ...] = (
        Sibling("full-1e-5", 1e-5, 40, dtypes=("BF16", "F32", "F16"), seed=1),
        Sibling("full-5e-5", 5e-5, 40, dtypes=("BF16", "F32"), seed=2),
        Sibling("full-3e-4", 3e-4, 40, seed=3),
        Sibling("full-3e-3", 3e-3, 60, seed=4),
        Sibling("lora", 3e-4, 60, trains="lora", seed=5),
        Sibling("last", 5e-5, 40, trains="last", seed=6),
        Sibling("policy", 1e-7, 10, seed=7),
    )


def directory_of(plan: Plan) -> Path:
    """Where the models of a plan are cached."""
    made_with = [
        dataclasses.asdict(plan),
        version("torch"),
        version("transformers"),
        sys.version_info[:3],
    ]
    tag = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "clade" / "small-lm" / tag


def weights(directory: Path, name: str, dtype: str) -> Path:
    """The safetensors file of a model."""
    return directory / f"{name}.{dtype.lower()}.safetensors"


def ensure(plan: Plan | None = None, workers: int = 2) -> Path:
    """The directory of the models, trained first where they are missing (a few minutes)."""
    plan = plan or Plan()
    directory = directory_of(plan)
    directory.mkdir(parents=True, exist_ok=True)
    if not weights(directory, BASE, "F32").exists():
        print(f"training a small language model into {directory} (once)", flush=True)
        train_base(plan, directory)
    missing = [each for each in plan.siblings if not _is_complete(directory, each)]
    if missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for sibling in pool.map(train_sibling, *_repeat(plan, directory, missing)):
                print(f"  {sibling} done", flush=True)
    return directory


def _repeat(plan: Plan, directory: Path, siblings: list[Sibling]) -> Iterator[Iterable[Any]]:
    yield [plan] * len(siblings)
    yield [directory] * len(siblings)
    yield siblings


def _is_complete(directory: Path, sibling: Sibling) -> bool:
    return all(weights(directory, sibling.name, dtype).exists() for dtype in sibling.dtypes)


def train_base(plan: Plan, directory: Path) -> None:
    """Train the base and save it in BF16, F32 and F16; the F32 one holds BF16 values exactly."""
    import torch

    _settle()
    model = _model(plan)
    tokens = _tokens(plan, directory, _top_level())
    _train(model, tokens, plan, lr=plan.base_lr, steps=plan.base_steps, seed=0)
    model = model.to(torch.bfloat16).to(torch.float32)
    for dtype in ("BF16", "F16", "F32"):  # the last one says that all are there
        _save(model, weights(directory, BASE, dtype), dtype)


def train_sibling(plan: Plan, directory: Path, sibling: Sibling) -> str:
    """Train one sibling from the base, save it and return its name."""
    from safetensors.torch import load_file

    _settle()
    model = _model(plan)
    model.load_state_dict(load_file(weights(directory, BASE, "F32")))
    tokens = _tokens(plan, directory, _packages())
    trained: Any = model
    if sibling.trains == "lora":
        trained = _with_lora(model, sibling.seed)
    elif sibling.trains == "last":
        model.requires_grad_(False)
        for module in (*model.get_submodule("model.layers")[-2:], model.lm_head):
            module.requires_grad_(True)
    _train(trained, tokens, plan, lr=sibling.lr, steps=sibling.steps, seed=sibling.seed)
    if sibling.trains == "lora":
        model = trained.merge_and_unload()
    for dtype in sibling.dtypes:
        _save(model, weights(directory, sibling.name, dtype), dtype)
    return sibling.name


def _settle() -> None:
    import torch

    warnings.simplefilter("ignore")  # torch and peft deprecations are not ours to report
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)


def _model(plan: Plan) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=plan.vocabulary,
            hidden_size=plan.hidden,
            intermediate_size=plan.hidden * 11 // 4,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.hidden // 64,
            max_position_embeddings=plan.context,
            tie_word_embeddings=False,
        )
    )


def _with_lora(model: Any, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))


def _train(
    model: Any, tokens: "torch.Tensor", plan: Plan, *, lr: float, steps: int, seed: int
) -> None:
    """AdamW with warm-up, cosine decay and clipped gradients, in F32."""
    import torch

    chance = torch.Generator().manual_seed(seed)
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(steps):
        share = 0.1 + 0.45 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * share * min(1.0, (step + 1) / max(1, steps // 10))
        starts = torch.randint(tokens.numel() - plan.context, (plan.batch,), generator=chance)
        rows = torch.stack([tokens[start : start + plan.context] for start in starts])
        loss = model(input_ids=rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


def _save(model: Any, path: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import save_file

    kinds = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    partial = path.with_suffix(".partial")
    tensors = {
        name: tensor.detach().to(kinds[dtype]).contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, partial)
    partial.rename(path)


def _top_level() -> str:
    library = Path(sysconfig.get_paths()["stdlib"])
    return _text(sorted(library.glob("*.py")))


def _packages() -> str:
    library = Path(sysconfig.get_paths()["stdlib"])
    found = (path for path in library.rglob("*.py") if path.parent != library)
    return _text(
        sorted(path for path in found if SKIPPED.isdisjoint(path.relative_to(library).parts))
    )


def _text(paths: Iterable[Path]) -> str:
    text = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in paths)
    return text[:TEXT_NBYTES]


def _tokens(plan: Plan, directory: Path, text: str) -> "torch.Tensor":
    """Byte-pair tokens of a text; the vocabulary is learned from the base's text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    saved = directory / "tokenizer.json"
    if saved.exists():
        tokenizer = Tokenizer.from_file(str(saved))
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=plan.vocabulary, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(_pieces(text), trainer)
        tokenizer.save(str(saved))
    return torch.tensor(
        [token for part in tokenizer.encode_batch(list(_pieces(text))) for token in part.ids]
    )


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), STRIDE):
        yield text[start : start + STRIDE]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.small_lm", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="training processes")
    print(ensure(workers=parser.parse_args().workers))


if __name__ == "__main__":
    main()
