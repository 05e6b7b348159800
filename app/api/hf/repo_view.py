"""A repo as the clients read it: one function per field, so that ``expand`` picks among them."""

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

import yaml

from app.api.dates import wire_date
from app.api.hf.repo_facts import CONFIG, README, RepoFacts
from app.api.hf.tree import lfs_facts
from app.api.small_files import SmallFiles
from app.formats.model_card import (
    ModelCard,
    ModelConfig,
    load_card_data,
    parse_model_card,
    parse_model_config,
)


class RepoView:
    """Renders facts. Reads cards from the store: use it outside transactions."""

    def __init__(self, facts: RepoFacts, small_files: SmallFiles, *, blobs: bool = False) -> None:
        self._facts = facts
        self._repo = facts.listed.repo
        self._small_files = small_files
        self._blobs = blobs

    def render(self, fields: Collection[str]) -> dict[str, Any]:
        """The named fields, ids always among them. Unknown names are left out."""
        answer: dict[str, Any] = {"_id": f"{self._repo.id:024x}", "id": self._facts.listed.id}
        if self._repo.type == "model":
            answer["modelId"] = self._facts.listed.id
        for name in fields:
            if name in FIELDS:
                answer[name] = FIELDS[name](self)
        return answer

    @cached_property
    def card(self) -> ModelCard:
        """What the README declares."""
        return self._parse(README, parse_model_card)

    @cached_property
    def config(self) -> ModelConfig:
        """What config.json says."""
        return self._parse(CONFIG, parse_model_config)

    def author(self) -> str:
        """Owner."""
        return self._facts.listed.namespace

    def sha(self) -> str | None:
        """Commit looked at."""
        return self._facts.commit.oid if self._facts.commit else None

    def last_modified(self) -> str:
        """Time of the commit looked at; of the repo's latest change in listings."""
        commit = self._facts.commit
        return wire_date(commit.created_at if commit else self._repo.updated_at)

    def tags(self) -> list[str]:
        """Declared tags, and those that card, configuration and file names imply."""
        card = self.card
        found = [self.library_name(), *self._formats(), self.config.model_type, *card.tags]
        found.append(self.pipeline_tag())
        for base in card.base_models:
            found.append(f"base_model:{base}")
            if card.base_model_relation:
                found.append(f"base_model:{card.base_model_relation}:{base}")
        if card.license:
            found.append(f"license:{card.license}")
        return list(dict.fromkeys(tag for tag in found if tag))

    def library_name(self) -> str | None:
        """As declared, else transformers where the configuration is one of its."""
        if self._repo.type != "model":
            return None
        return self.card.library_name or ("transformers" if self.config.model_type else None)

    def pipeline_tag(self) -> str | None:
        """As declared."""
        return self.card.pipeline_tag if self._repo.type == "model" else None

    def card_data(self) -> dict[str, Any] | None:
        """The README's YAML head."""
        return self._parse(README, _card_data) or None

    def config_facts(self) -> dict[str, Any] | None:
        """Architectures and model type."""
        if self.config == ModelConfig():
            return None
        return {
            "architectures": list(self.config.architectures),
            "model_type": self.config.model_type,
        }

    def safetensors(self) -> dict[str, Any] | None:
        """Parameters per dtype and in all."""
        parameters = self._facts.parameters
        if not parameters:
            return None
        return {"parameters": parameters, "total": sum(parameters.values())}

    def siblings(self) -> list[dict[str, Any]] | None:
        """All files; with sizes and ids if blobs were asked for."""
        if self._facts.files is None:
            return None
        answers: list[dict[str, Any]] = []
        for entry in self._facts.files:
            answer: dict[str, Any] = {"rfilename": entry.path}
            if self._blobs:
                answer |= {"size": entry.nbytes, "blobId": entry.oid}
                if entry.is_lfs:
                    answer["lfs"] = lfs_facts(entry, "sha256")
            answers.append(answer)
        return answers

    def created_at(self) -> str:
        """Time of creation."""
        return wire_date(self._repo.created_at)

    def is_private(self) -> bool:
        """Whether only members see it."""
        return self._repo.private

    def downloads(self) -> int:
        """Downloads counted so far."""
        return self._repo.downloads

    def used_storage(self) -> int | None:
        """Logical bytes of all files in the history."""
        return self._facts.used_nbytes

    def _formats(self) -> list[str]:
        names = [entry.path for entry in self._facts.files or []]
        formats = ("safetensors", "gguf")
        return [kind for kind in formats if any(name.endswith(f".{kind}") for name in names)]

    def _parse(self, path: str, parser: Callable[[bytes], Any]) -> Any:
        file = self._facts.cards.get(path)
        if file is None:
            return parser(b"")
        return self._small_files.parse(file.file_id, file.nbytes, parser)


def _card_data(readme: bytes) -> dict[str, Any]:
    try:
        return load_card_data(readme)
    except yaml.YAMLError:
        return {}


FIELDS: dict[str, Callable[[RepoView], Any]] = {
    "author": RepoView.author,
    "cardData": RepoView.card_data,
    "config": RepoView.config_facts,
    "createdAt": RepoView.created_at,
    "disabled": lambda _view: False,
    "downloads": RepoView.downloads,
    "downloadsAllTime": RepoView.downloads,
    "gated": lambda _view: False,
    "lastModified": RepoView.last_modified,
    "library_name": RepoView.library_name,
    "likes": lambda _view: 0,
    "pipeline_tag": RepoView.pipeline_tag,
    "private": RepoView.is_private,
    "safetensors": RepoView.safetensors,
    "sha": RepoView.sha,
    "siblings": RepoView.siblings,
    "tags": RepoView.tags,
    "trendingScore": lambda _view: 0,
    "usedStorage": RepoView.used_storage,
}

COMMON_FIELDS = (
    *("author", "createdAt", "disabled", "downloads", "gated", "lastModified"),
    *("likes", "private", "sha", "tags"),
)
LISTING_FIELDS = (*COMMON_FIELDS, "trendingScore", "pipeline_tag", "library_name")
INFO_FIELDS = {
    "model": (
        *COMMON_FIELDS,
        *("pipeline_tag", "library_name", "cardData", "config", "safetensors", "usedStorage"),
        "siblings",
    ),
    "dataset": (*COMMON_FIELDS, "cardData", "usedStorage", "siblings"),
    "space": (*COMMON_FIELDS, "cardData", "usedStorage", "siblings"),
}
