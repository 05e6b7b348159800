"""The base of a run: from a directory, or pulled from a hub and verified."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from client.errors import Refused
from client.hub import HubClient, RepoName
from client.pull import pull

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
SMALL = tuple(pattern for pattern in WANTED if pattern != "*.safetensors")
SHARD = "5GB"
"""Of a model's weights that are written."""
DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class BadBase(Exception):
    """Nothing can be trained on this base; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """``name``: how results refer to the base; ``commit``: None for a directory."""

    name: str
    directory: Path
    commit: str | None

    @property
    def root(self) -> str:
        """Name and commit."""
        return f"{self.name}@{self.commit}" if self.commit else self.name

    def model(self, dtype: str, device: str) -> PreTrainedModel:
        """The base itself, a new one with every call. Raises BadBase."""
        try:
            model = AutoModelForCausalLM.from_pretrained(
                self.directory, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False
            )
            torch.nn.Module.to(model, torch.device(device))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadBase(f"{self.root} cannot be loaded: {error}") from error
        return model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer. Raises BadBase."""
        try:
            return AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise BadBase(f"{self.root} has no tokenizer that can be loaded: {error}") from error


def find_origin(base: str, revision: str, *, hub: str, token: str | None, cache: Path) -> Origin:
    """Have the base on this machine. Raises BadBase, ClientError."""
    local = Path(base)
    if local.is_dir():
        return Origin(base, local, None)
    if base.startswith((".", "/")) or base.count("/") != 1:
        raise BadBase(f"{base} is neither a directory here nor owner/name on a hub")
    repo = RepoName.parse(base)
    try:
        with HubClient(hub, token=token) as client:
            commit = client.commit_of(repo, revision)
    except Refused as error:
        raise BadBase(f"{base} at {revision} cannot be had: {error}") from error
    directory = cache / "training" / "bases" / base.replace("/", "--") / commit
    pull(
        base,
        to=directory,
        revision=commit,
        token=token,
        endpoint=hub,
        allow=WANTED,
        ignore=("*/*",),
        cache=cache,
    )
    return Origin(base, directory, commit)
