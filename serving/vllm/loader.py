"""Weights out of a hub into vLLM: fetched as they are stored, decoded and verified on the way."""
# pyright: reportMissingImports=false

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from client.hub import HubClient
from client.local import LocalContents
from serving.vllm.source import KEYS, Source
from serving.weights.checkpoint import Checkpoint
from serving.weights.fetch import Fetcher
from serving.weights.header import BadCheckpoint
from serving.weights.layers import layers_of


class HubLoader(DefaultModelLoader):
    """vLLM's loader with another place to read from; that all was loaded is checked as it does.

    At most two layers are in memory beside the model. Stored bytes that need no base stay in the
    node's cache, so that a second worker, or another family member, need not fetch them again.
    """

    def __init__(self, load_config: LoadConfig) -> None:
        extra: dict[str, Any] = load_config.model_loader_extra_config
        self._extra = {key: value for key, value in extra.items() if key in KEYS}
        others = {key: value for key, value in extra.items() if key not in KEYS}
        super().__init__(replace(load_config, model_loader_extra_config=others))

    def get_all_weights(
        self, model_config: ModelConfig, model: torch.nn.Module
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of the commit, equal to its digest. Raises BadCheckpoint, ClientError."""
        if getattr(model, "secondary_weights", ()):
            raise BadCheckpoint(
                f"{type(model).__name__} takes weights from a second repository, which "
                "--load-format clade cannot; use --load-format auto"
            )
        self.counter_before_loading_weights = time.perf_counter()
        yield from self._tensors(model_config)

    def download_model(self, model_config: ModelConfig) -> None:
        """Have stored bytes at hand; deltas against them are fetched again."""
        for _ in self._tensors(model_config):
            pass

    def _tensors(self, model_config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
        token = model_config.hf_token
        source = Source.of(
            model_config.model_weights or model_config.model,
            model_config.revision,
            self._extra,
            token=token if isinstance(token, str) else None,
        )
        with (
            HubClient(source.hub, token=source.token) as hub,
            LocalContents(source.cache) as local,
            Fetcher(local, threads=source.threads) as fetcher,
        ):
            checkpoint = Checkpoint(hub, source.repo, source.revision)
            groups = layers_of({name: [name] for name in checkpoint.shard_of})
            for tensors in fetcher.groups(checkpoint, groups):
                yield from tensors.items()
