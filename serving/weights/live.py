"""The weights of a model that may be running: loaded layer by layer, switched to a relative's."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from serving.weights.checkpoint import Checkpoint
from serving.weights.fetch import Fetcher, Tensors
from serving.weights.layers import layers_of
from serving.weights.placing import Placer

_UNIMPORTANT = {
    *("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache"),
}
"""Of a configuration: what does not change what a model computes."""


ALIGNED = 64
"""Bytes that a staged tensor starts at a multiple of."""


class NotRelated(Exception):
    """Another model is of another shape, and needs an engine of its own."""


class LiveWeights:
    """One model's weights, and the checkpoint that they are."""

    def __init__(self, model: PreTrainedModel, fetcher: Fetcher, staging: Path) -> None:
        self._model = model
        self._fetcher = fetcher
        self._staging = staging
        self._placer = Placer(model)
        self._identities: dict[str, list[Any]] = {}
        """Of the tensors that make each parameter."""

    def load(self, checkpoint: Checkpoint, applied: Callable[[], None] = lambda: None) -> int:
        """Place every tensor; ``applied`` is called after each layer. Returns their raw bytes.

        Raises BadCheckpoint, ClientError.
        """
        units = self._placer.units(checkpoint.shard_of)
        for tensors in self._fetcher.groups(checkpoint, layers_of(units)):
            self._placer.place(tensors)
            applied()
        self._placer.finish()
        self._identities = self._identify(checkpoint, units)
        return checkpoint.nbytes_of([name for names in units.values() for name in names])

    def stage(self, checkpoint: Checkpoint, config: PreTrainedConfig) -> "Staged":
        """Fetch what differs, verified, to disk: applying it then can no more fail for the network.

        Raises NotRelated, BadCheckpoint, ClientError.
        """
        self._check_config(config)
        units = self._placer.units(checkpoint.shard_of)
        identities = self._identify(checkpoint, units)
        for target, own in identities.items():
            shapes = [each[1] for each in self._identities.get(target, ())]
            if [each[1] for each in own] != shapes:
                raise NotRelated(f"{target} has another shape")
        changed = {
            target: names
            for target, names in units.items()
            if identities[target] != self._identities[target]
        }
        names = [name for own in changed.values() for name in own]
        nbytes = checkpoint.nbytes_of(names)
        groups: list[Tensors] = []
        if names:
            allocate = _file_backed(self._staging, nbytes + len(names) * ALIGNED)
            groups = list(self._fetcher.groups(checkpoint, layers_of(changed), allocate))
        return Staged(groups, identities, len(names), nbytes)

    def apply(self, staged: "Staged") -> None:
        """Make the model be what was staged. Nothing may run on it meanwhile."""
        for tensors in staged.groups:
            self._placer.place({name: tensor.clone() for name, tensor in tensors.items()})
        self._placer.finish()
        self._identities = staged.identities

    def _identify(
        self, checkpoint: Checkpoint, units: dict[str, list[str]]
    ) -> dict[str, list[Any]]:
        return {
            target: [checkpoint.identity_of(name) for name in names]
            for target, names in units.items()
        }

    def _check_config(self, config: PreTrainedConfig) -> None:
        own, other = self._model.config.to_dict(), config.to_dict()
        keys = (own.keys() | other.keys()) - _UNIMPORTANT
        different = sorted(key for key in keys if own.get(key) != other.get(key))
        if different:
            raise NotRelated(f"its configuration differs in {', '.join(different)}")


@dataclass(frozen=True, slots=True)
class Staged:
    """Verified tensors on disk, ready to be placed."""

    groups: Sequence[Tensors]
    identities: dict[str, list[Any]]
    num_tensors: int
    nbytes: int


def _file_backed(directory: Path, nbytes: int) -> Callable[[int], torch.Tensor]:
    """Hands out pieces of a file without a name: they cost page cache, which may be written out."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix="switch-") as file:
        file.truncate(nbytes)
        whole = torch.from_file(file.name, shared=True, size=nbytes, dtype=torch.uint8)
    lock = threading.Lock()
    taken = 0

    def allocate(wanted: int) -> torch.Tensor:
        nonlocal taken
        with lock:
            start = taken
            taken += -(-wanted // ALIGNED) * ALIGNED
        return whole[start : start + wanted]

    return allocate
