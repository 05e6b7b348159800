"""A repo as the clients read it: one function per field, so that ``expand`` picks among them."""

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

from app.api.dates import wire_date
from app.api.hf.repo_facts import TOKENIZER, RepoFacts
from app.api.hf.tree import lfs_facts
from app.api.small_files import SmallFiles
from app.catalog.tags import CONFIG, README, CardFacts, describe, parse_readme
from app.formats.auto_classes import load_mask_token, transformers_info
from app.formats.model_card import parse_model_config


class RepoView:
    """Renders facts. Reads cards from the store: use it outside transactions."""

    def __init__(self, facts: RepoFacts, small_files: SmallFiles, *, blobs: bool = False) -> None:
        self._facts = facts
        self._repo = facts.listed.repo
        self._small_files = small_files
        self._blobs = blobs

    def render(self, fields: Collection[str]) -> dict[str, Any]:
        """The named fields, ids always among them. Fields that say nothing are left out."""
        answer: dict[str, Any] = {"_id": f"{self._repo.id:024x}", "id": self._facts.listed.id}
        if self._repo.type == "model":
            answer["modelId"] = self._facts.listed.id
        for name in fields:
            value = FIELDS[name](self)
            if value is not None:
                answer[name] = value
        return answer

    @cached_property
    def card(self) -> CardFacts:
        """What card, configuration and file names say: as written down, or read now."""
        if self._facts.indexed is not None:
            return self._facts.indexed.facts
        paths = [entry.path for entry in self._facts.files or []]
        return describe(
            self._repo.type,  # pyright: ignore[reportArgumentType]
            paths,
            self._parse(README, parse_readme),
            self._parse(CONFIG, parse_model_config),
        )

    def from_card(self, key: str) -> Any:
        """A value of the README's YAML head; None without one."""
        return (self.card.card_data or {}).get(key)

    def last_modified(self) -> str:
        """Time of the commit looked at."""
        commit = self._facts.commit
        return wire_date(commit.created_at if commit else self._repo.updated_at)

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

    def main_size(self) -> int:
        """Logical bytes of the files at the commit looked at."""
        return sum(entry.nbytes for entry in self._facts.files or [])

    def base_models(self) -> dict[str, Any] | None:
        """The measured parent; where nothing was measured, what the card names."""
        lineage = self._facts.lineage
        if lineage is not None and lineage.parent is not None:
            parent = lineage.parent
            models = [{"_id": f"{parent.repo.id:024x}", "id": parent.id}]
            return {
                "relation": lineage.relation or "finetune",
                "models": models,
                "measured": True,
            }
        named = [tag.partition(":")[2] for tag in self.card.tags if tag.startswith("base_model:")]
        models = [{"id": name} for name in named if ":" not in name]
        if not models:
            return None
        relation = self.from_card("base_model_relation") or "finetune"
        return {"relation": relation, "models": models, "measured": False}

    def children_count(self) -> int:
        """Models measured to derive from this one."""
        return self._facts.lineage.children if self._facts.lineage else 0

    def transformers_info(self) -> dict[str, Any] | None:
        """The auto class that loads the model, for one of transformers."""
        if self.card.library_name != "transformers" or self.card.config is None:
            return None
        return transformers_info(self.card.config["architectures"], self.card.pipeline_tag)

    def mask_token(self) -> str | None:
        """Of the tokenizer of a model that fills masks."""
        if "fill-mask" not in self.card.tags:
            return None
        return self._parse(TOKENIZER, load_mask_token)

    def gguf(self) -> dict[str, Any] | None:
        """Parameters of the first GGUF file: of several, the others are the same, quantised."""
        total = self._facts.gguf_parameters
        return None if total is None else {"total": total}

    def used_storage(self) -> int | None:
        """Logical bytes of all files in the history."""
        return self._facts.used_nbytes

    def _parse(self, path: str, parser: Callable[[bytes], Any]) -> Any:
        file = self._facts.small_files.get(path)
        if file is None:
            return parser(b"")
        return self._small_files.parse(file.file_id, file.nbytes, parser)


def _repo(attribute: str) -> Callable[[RepoView], Any]:
    return lambda view: getattr(view._repo, attribute)


def _card(attribute: str) -> Callable[[RepoView], Any]:
    return lambda view: getattr(view.card, attribute)


def _nothing(_view: RepoView) -> None:
    """What the Hugging Face Hub has and this hub does not."""


FIELDS: dict[str, Callable[[RepoView], Any]] = {
    "author": lambda view: view._facts.listed.namespace,
    "baseModels": RepoView.base_models,
    "cardData": _card("card_data"),
    "childrenModelCount": RepoView.children_count,
    "citation": _nothing,
    "config": _card("config"),
    "createdAt": lambda view: wire_date(view._repo.created_at),
    "datasets": lambda view: view.from_card("datasets") or [],
    "description": _nothing,
    "disabled": lambda _view: False,
    "downloads": _repo("downloads"),
    "downloadsAllTime": _repo("downloads"),
    "evalResults": _nothing,
    "gated": lambda view: view._repo.gated or False,
    "gguf": RepoView.gguf,
    "inference": _nothing,
    "inferenceProviderMapping": _nothing,
    "lastModified": RepoView.last_modified,
    "library_name": _card("library_name"),
    "likes": _repo("likes"),
    "mainSize": RepoView.main_size,
    "mask_token": RepoView.mask_token,
    "model-index": lambda view: view.from_card("model-index"),
    "models": lambda view: view.from_card("models") or [],
    "paperswithcode_id": lambda view: view.from_card("paperswithcode_id"),
    "pipeline_tag": _card("pipeline_tag"),
    "private": _repo("private"),
    "region": _nothing,
    "resourceGroup": _nothing,
    "runtime": lambda _view: NOT_RUN,
    "safetensors": RepoView.safetensors,
    "sdk": lambda view: view.from_card("sdk"),
    "sha": lambda view: view._facts.commit and view._facts.commit.oid,
    "siblings": RepoView.siblings,
    "spaces": lambda _view: [],
    "subdomain": _nothing,
    "tags": lambda view: list(view.card.tags),
    "transformersInfo": RepoView.transformers_info,
    "trendingScore": _repo("likes"),
    "usedStorage": RepoView.used_storage,
    "widgetData": lambda view: view.from_card("widget"),
    # Asked for by 0.30 to 0.33 only, which send by LFS if not.
    "xetEnabled": lambda _view: False,
}
"""Of models, datasets and spaces. No space runs here, nobody likes for a while only."""

NOT_RUN = {"stage": "STOPPED", "hardware": {"current": None, "requested": None}, "storage": None}
