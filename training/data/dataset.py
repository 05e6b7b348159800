"""A file of examples as token sequences, made once for each file, tokenizer and template."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from training.data.errors import BadData, Fault
from training.data.records import MOST_FAULTS, Form, read_examples
from training.data.rendering import Renderer, Unrenderable
from training.data.sample import Sample
from training.durable import write_whole

VERSION = 1
"""Of what is kept; part of its name."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a result's card says of its data. ``truncated``: examples cut at ``max_tokens``."""

    name: str
    sha256: str
    form: Form
    examples: int
    tokens: int
    targets: int
    longest: int
    truncated: int
    max_tokens: int
    default_template: bool


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples in the order of the file."""

    samples: Sequence[Sample]
    facts: DataFacts


class UnusableTokenizer(ValueError):
    """A tokenizer that cannot tell which characters a token stands for."""


def load_dataset(path: Path, renderer: Renderer, max_tokens: int, cache: Path) -> Dataset:
    """From the cache, or read, rendered and kept there. Raises BadData, UnusableTokenizer, OSError.

    ``cache`` is a directory; what is damaged in it is made again.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = [VERSION, digest, _digest_of(renderer.tokenizer), renderer.template, max_tokens]
    kept = cache / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}.safetensors"
    dataset = _read(kept, path.name)
    if dataset is None:
        dataset = _tokenized(path, digest, renderer, max_tokens)
        _keep(dataset, kept)
    return dataset


def _tokenized(path: Path, digest: str, renderer: Renderer, max_tokens: int) -> Dataset:
    form, examples = read_examples(path)
    samples: list[Sample] = []
    faults: list[Fault] = []
    truncated = 0
    for example in examples:
        try:
            sample, cut = renderer.sample(example, max_tokens)
        except Unrenderable as error:
            faults.append(error.fault)
            if error.is_costly or len(faults) == MOST_FAULTS:
                break
            continue
        samples.append(sample)
        truncated += cut > 0
    if faults:
        raise BadData(path.name, faults)
    facts = DataFacts(
        name=path.name,
        sha256=digest,
        form=form,
        examples=len(samples),
        tokens=sum(len(sample) for sample in samples),
        targets=sum(len(sample.places) for sample in samples),
        longest=max(len(sample) for sample in samples),
        truncated=truncated,
        max_tokens=max_tokens,
        default_template=form != "text" and renderer.is_default,
    )
    return Dataset(samples, facts)


def _digest_of(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnusableTokenizer(
            "the model's tokenizer is not a fast one (tokenizer.json), which training needs"
        )
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _keep(dataset: Dataset, kept: Path) -> None:
    tensors = {
        "tokens": torch.cat([sample.tokens for sample in dataset.samples]).int(),
        "is_target": torch.cat([sample.is_target for sample in dataset.samples]),
        "lengths": torch.tensor([len(sample) for sample in dataset.samples]),
    }
    metadata = {"facts": json.dumps(asdict(dataset.facts)), "check": _check(tensors)}
    write_whole(kept, lambda path: save_file(tensors, path, metadata=metadata))


def _read(kept: Path, name: str) -> Dataset | None:
    try:
        with safe_open(kept, "pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in ("tokens", "is_target", "lengths")}
        if metadata["check"] != _check(tensors):
            return None
        facts = DataFacts(**json.loads(metadata["facts"]) | {"name": name})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    lengths = tensors["lengths"].tolist()
    parts = zip(
        tensors["tokens"].long().split(lengths), tensors["is_target"].split(lengths), strict=True
    )
    return Dataset([Sample(tokens, chosen) for tokens, chosen in parts], facts)


def _check(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
