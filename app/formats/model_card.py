"""What a repository says about itself: the YAML head of its README and its ``config.json``.

Both are written by strangers. The YAML is read as plain text values (no types, no tags, no
aliases, so ``license: no`` stays ``no`` and nothing can unfold); whatever has not the expected
shape is left out, never an error.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import ComposerError

HEAD_NBYTES = 64 << 10
"""Longest YAML head, bytes; a longer one is ignored."""

CONFIG_NBYTES = 1 << 20
"""Longest ``config.json``, bytes; a longer one is ignored."""

DEPTH = 20
ITEMS = 64
"""Most items kept of one list."""

TEXT_LENGTH = 128

_HEAD = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE
)
_JSON_SCALAR = re.compile(
    r"true|false|null|-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?"
)
_REPO_ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?")
_RELATIONS = frozenset({"finetune", "adapter", "quantized", "merge"})


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the head of a README declares; empty where it says nothing usable."""

    base_models: tuple[str, ...] = ()
    """Repository ids, in the order declared."""
    base_model_relation: str | None = None
    """finetune | adapter | quantized | merge"""
    license: str | None = None
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library_name: str | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a ``config.json`` says about the architecture."""

    architectures: tuple[str, ...] = ()
    model_type: str | None = None


def parse_model_card(readme: bytes) -> ModelCard:
    """The declarations in the YAML head of a README; an empty card if there is no sound one."""
    match = _HEAD.match(readme[: HEAD_NBYTES + 64])
    if match is None:
        return ModelCard()
    try:
        head = _PlainLoader(match[1].decode()).get_single_data()
    except (UnicodeDecodeError, yaml.YAMLError):
        return ModelCard()
    if not isinstance(head, dict):
        return ModelCard()
    relation = _text(head.get("base_model_relation"))
    base_models = _texts(head.get("base_model"))
    return ModelCard(
        base_models=tuple(name for name in base_models if _REPO_ID.fullmatch(name)),
        base_model_relation=relation if relation in _RELATIONS else None,
        license=_text(head.get("license")),
        tags=_texts(head.get("tags")),
        pipeline_tag=_text(head.get("pipeline_tag")),
        library_name=_text(head.get("library_name")),
    )


def card_body(readme: str) -> str:
    """The text of a README below its YAML head."""
    data = readme.encode()
    match = _HEAD.match(data[: HEAD_NBYTES + 64])
    return readme if match is None else data[match.end() :].decode()


def load_card_data(readme: bytes) -> dict[str, Any]:
    """The YAML head of a README as JSON values; empty if there is none.

    Numbers, true, false and null are what JSON calls so (YAML 1.2 JSON schema), all else is text.
    Raises ``yaml.YAMLError`` for a head that cannot be read, or refers or nests without bounds.
    """
    match = _HEAD.match(readme[: HEAD_NBYTES + 64])
    if match is None:
        return {}
    try:
        head = _JsonLoader(match[1].decode()).get_single_data()
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(str(error)) from error
    return head if isinstance(head, dict) else {}


def parse_model_config(config: bytes) -> ModelConfig:
    """Architectures and model type of a ``config.json``; empty if it is not a sound one."""
    if len(config) > CONFIG_NBYTES:
        return ModelConfig()
    try:
        parsed = json.loads(config.decode())
    except (ValueError, RecursionError):
        return ModelConfig()
    if not isinstance(parsed, dict):
        return ModelConfig()
    return ModelConfig(_texts(parsed.get("architectures")), _text(parsed.get("model_type")))


class _PlainLoader(yaml.BaseLoader):
    """YAML whose scalars are all text: no anchors, no aliases, bounded depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what can refer or nest without end, before it is built."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ComposerError(None, None, "anchors are not read")
        if self._depth >= DEPTH:
            raise ComposerError(None, None, "nested too deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _JsonLoader(_PlainLoader):
    """Plain scalars that JSON would know become JSON's values; quoted ones stay text."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        """The value of a scalar; keys of mappings stay text."""
        text = super().construct_scalar(node)
        if node.style is not None or not isinstance(text, str):
            return text
        if text in {"", "~"}:
            return None
        return json.loads(text) if _JSON_SCALAR.fullmatch(text) else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with text keys; a key that is no scalar is an error."""
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH or not value.isprintable():
        return None
    return None if value in {"null", "~"} else value


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items[:ITEMS] if (text := _text(item)) is not None)
