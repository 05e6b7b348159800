"""Models and adapters of one hub, through one node cache: what ``clade infer`` serves from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import PreTrainedModel

from client.hub import HubClient, RepoName
from client.local import LocalContents, default_cache_dir
from serving.engine.lora import Adapter
from serving.weights.adapter import CONFIG, WEIGHTS, read_adapter
from serving.weights.checkpoint import Checkpoint
from serving.weights.fetch import Fetcher
from serving.weights.live import LiveWeights, Staged
from serving.weights.model import Around, build, read_around
from serving.weights.small_files import SMALL_FILES, pull_small_files


@dataclass(frozen=True, slots=True)
class Moved:
    """What a load or a switch moved.

    ``tensors`` were placed, ``tensor_nbytes`` raw bytes in all; ``wire_nbytes``: bodies received,
    listings and plans included; ``seconds`` until ready.
    """

    root: str
    tensors: int
    tensor_nbytes: int
    wire_nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Relative:
    """A family member, staged on this node."""

    repo: str
    root: str
    around: Around
    staged: Staged
    moved: Moved


class HubModels:
    """Loads from a hub. Thread-safe as far as one call at a time is made. Raises ClientError."""

    def __init__(
        self, endpoint: str, *, token: str | None, cache: Path | None = None, threads: int = 4
    ) -> None:
        self._endpoint = endpoint
        self._token = token
        self._cache = cache or default_cache_dir()
        self._hub = HubClient(endpoint, token=token)
        self._local = LocalContents(self._cache)
        self._fetcher = Fetcher(self._local, threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._fetcher.__exit__()
        self._local.__exit__()
        self._hub.__exit__()

    def load(
        self, repo: str, revision: str, *, dtype: torch.dtype | None, device: str
    ) -> tuple[PreTrainedModel, Around, LiveWeights, Moved]:
        """A model, ready to run. Raises BadCheckpoint, UnservableModel too."""
        start_s, start_nbytes = time.monotonic(), self._hub.wire_nbytes
        checkpoint = Checkpoint(self._hub, repo, revision)
        small_nbytes, directory = self._small_files(repo, checkpoint.commit, SMALL_FILES)
        around = read_around(directory)
        model = build(around.config, dtype, device)
        live = LiveWeights(model, self._fetcher, self._cache)
        nbytes = live.load(checkpoint)
        moved = Moved(
            root=root_of(checkpoint),
            tensors=len(checkpoint.shard_of),
            tensor_nbytes=nbytes,
            wire_nbytes=self._hub.wire_nbytes - start_nbytes + small_nbytes,
            seconds=time.monotonic() - start_s,
        )
        return model, around, live, moved

    def stage(self, live: LiveWeights, repo: str, revision: str) -> Relative:
        """Have a relative of what runs at hand. Raises NotRelated, BadCheckpoint too."""
        start_s, start_nbytes = time.monotonic(), self._hub.wire_nbytes
        checkpoint = Checkpoint(self._hub, repo, revision)
        small_nbytes, directory = self._small_files(repo, checkpoint.commit, SMALL_FILES)
        around = read_around(directory)
        staged = live.stage(checkpoint, around.config)
        moved = Moved(
            root=root_of(checkpoint),
            tensors=staged.num_tensors,
            tensor_nbytes=staged.nbytes,
            wire_nbytes=self._hub.wire_nbytes - start_nbytes + small_nbytes,
            seconds=time.monotonic() - start_s,
        )
        return Relative(repo, moved.root, around, staged, moved)

    def adapter(self, repo: str, revision: str = "main") -> Adapter:
        """A LoRA adapter in PEFT's form. Raises BadAdapter too."""
        commit = self._hub.commit_of(RepoName.parse(repo), revision)
        _, directory = self._small_files(repo, commit, (CONFIG, WEIGHTS))
        return read_adapter(directory, f"{repo}@{commit[:12]}")

    def _small_files(self, repo: str, commit: str, patterns: Sequence[str]) -> tuple[int, Path]:
        return pull_small_files(
            repo,
            commit,
            endpoint=self._endpoint,
            token=self._token,
            cache=self._cache,
            patterns=patterns,
        )


def root_of(checkpoint: Checkpoint) -> str:
    """``owner/name@commit``, as far as people read it."""
    return f"{checkpoint.repo.id}@{checkpoint.commit[:12]}"
