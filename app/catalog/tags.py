"""What a repo is about: its tags and the facts of its card, out of its small files. Pure.

Tags are those of the Hugging Face Hub: what the card says, and what configuration and file names
imply (hub-docs, "Model cards" and "Dataset cards").
"""

import fnmatch
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.catalog.naming import RepoType
from app.formats.model_card import (
    ModelCard,
    ModelConfig,
    load_card_data,
    parse_model_card,
)

README = "README.md"
CONFIG = "config.json"
CARD_FILES = (README, CONFIG)

MOST_TAGS = 256
TAG_LENGTH = 256

FORMATS = {
    "safetensors": "*.safetensors",
    "gguf": "*.gguf",
    "onnx": "*.onnx",
    "pytorch": "pytorch_model*.bin",
    "tf": "tf_model*.h5",
    "jax": "flax_model*.msgpack",
    "tensorboard": "*tfevents*",
}
"""Tag of a model -> files that imply it."""

_DATA_FORMATS = {
    "format:parquet": "*.parquet",
    "format:json": "*.json*",
    "format:csv": "*.csv",
    "format:arrow": "*.arrow",
    "format:webdataset": "*.tar",
}

DATASET_KEYS = (
    *("task_categories", "task_ids", "language", "multilinguality", "size_categories"),
    *("annotations_creators", "language_creators", "source_datasets"),
)
"""Keys of a dataset card whose values become ``key:value`` tags."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What README, configuration and file names say about a repo."""

    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library_name: str | None = None
    card_data: Mapping[str, Any] | None = None
    """The README's YAML head."""
    config: Mapping[str, Any] | None = None
    """Architectures and model type."""


@dataclass(frozen=True, slots=True)
class Readme:
    """The YAML head of a README: what is understood of it, and all of it."""

    card: ModelCard = field(default_factory=ModelCard)
    data: Mapping[str, Any] = field(default_factory=dict)


def parse_readme(readme: bytes) -> Readme:
    """The head of a README; an empty one if it cannot be read."""
    return Readme(parse_model_card(readme), _load(readme))


def describe(
    repo_type: RepoType, paths: Collection[str], readme: Readme, settings: ModelConfig
) -> CardFacts:
    """The facts of a repo with these files."""
    card, data = readme.card, readme.data
    if repo_type != "model":
        extra = _dataset_tags(data, paths) if repo_type == "dataset" else [_text(data.get("sdk"))]
        return CardFacts(_unique([*card.tags, *extra, *_licences(card)]), card_data=data or None)
    library = card.library_name or ("transformers" if settings.model_type else None)
    tags = [
        *(library, *_implied(FORMATS, paths), settings.model_type),
        *(*card.tags, card.pipeline_tag),
        *texts(data.get("language")),
        *(f"dataset:{name}" for name in texts(data.get("datasets"))),
        *(*_bases(card), *_licences(card)),
    ]
    return CardFacts(
        _unique(tags), card.pipeline_tag, library, data or None, _config_facts(settings)
    )


def _load(readme: bytes) -> dict[str, Any]:
    try:
        return load_card_data(readme)
    except yaml.YAMLError:
        return {}


def _dataset_tags(data: Mapping[str, Any], paths: Collection[str]) -> Iterator[str]:
    for key in DATASET_KEYS:
        yield from (f"{key}:{value}" for value in texts(data.get(key)))
    yield from _implied(_DATA_FORMATS, paths)


def _implied(patterns: Mapping[str, str], paths: Collection[str]) -> list[str]:
    names = [path.rpartition("/")[2] for path in paths]
    return [tag for tag, pattern in patterns.items() if fnmatch.filter(names, pattern)]


def _bases(card: ModelCard) -> Iterator[str]:
    for base in card.base_models:
        yield f"base_model:{base}"
        if card.base_model_relation:
            yield f"base_model:{card.base_model_relation}:{base}"


def _licences(card: ModelCard) -> list[str]:
    return [f"license:{card.license}"] if card.license else []


def _config_facts(config: ModelConfig) -> dict[str, Any] | None:
    if config == ModelConfig():
        return None
    return {"architectures": list(config.architectures), "model_type": config.model_type}


def _unique(tags: Collection[str | None]) -> tuple[str, ...]:
    found = dict.fromkeys(tag for tag in tags if tag and len(tag) <= TAG_LENGTH)
    return tuple(found)[:MOST_TAGS]


def texts(value: object) -> list[str]:
    """The texts of a field of a card, which has one or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [text for item in items[:MOST_TAGS] if (text := _text(item))]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None
