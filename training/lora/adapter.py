"""A job's own weights: a pair of low-rank matrices for each layer that it adapts."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from training.lora.options import ALL_LINEAR, LoraOptions
from training.stream import generator


class NoSuchLayer(ValueError):
    """The model has no linear layer that is to be adapted; the message says which."""


class Pair(NamedTuple):
    """``down [r, in]`` and ``up [out, r]``: A and B in the paper."""

    down: nn.Parameter
    up: nn.Parameter


class Adapter:
    """Pairs by the path of their layer; float32, or float64 over a float64 base."""

    def __init__(self, options: LoraOptions, pairs: Mapping[str, Pair]) -> None:
        self.options = options
        self.pairs = pairs

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All matrices, in the order of the model's layers."""
        return [side for pair in self.pairs.values() for side in pair]

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(side.numel() for side in self.parameters)

    @property
    def per_token_nbytes(self) -> int:
        """What each token of a job keeps for the backward pass beyond what the base keeps."""
        return sum(
            pair.down.shape[0] * pair.down.element_size()
            + (pair.down.shape[1] if self.options.dropout else 0)
            for pair in self.pairs.values()
        )

    def tensors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every matrix by the name that PEFT's files give it."""
        for path, pair in self.pairs.items():
            yield f"base_model.model.{path}.lora_A.weight", pair.down
            yield f"base_model.model.{path}.lora_B.weight", pair.up

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over values by name. Raises ValueError, changing nothing, if any does not fit."""
        own = dict(self.tensors())
        for name, parameter in own.items():
            if name not in tensors or tensors[name].shape != parameter.shape:
                raise ValueError(f"the adapter has no {name} of shape {tuple(parameter.shape)}")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])


def new_adapter(model: nn.Module, options: LoraOptions, seed: int) -> Adapter:
    """As PEFT makes one, by the job's own chance: A Kaiming-uniform with a = √5, B zero.

    ``model`` may have other adapters on it. Raises NoSuchLayer.
    """
    pairs: dict[str, Pair] = {}
    for path, weight in adaptable(model, options).items():
        rows, columns = weight.shape
        if options.r > min(rows, columns):
            raise NoSuchLayer(
                f"r = {options.r} is more than {path} [{rows}, {columns}] has ranks; choose at most"
                f" {min(rows, columns)}"
            )
        dtype = torch.promote_types(weight.dtype, torch.float32)
        down = torch.empty(options.r, columns, dtype=dtype)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator(seed, "init", path))
        up = torch.zeros(rows, options.r, dtype=dtype)
        pairs[path] = Pair(nn.Parameter(down.to(weight.device)), nn.Parameter(up.to(weight.device)))
    return Adapter(options, pairs)


def adaptable(model: nn.Module, options: LoraOptions) -> dict[str, nn.Parameter]:
    """Weights ``[out, in]`` of the layers that the options name, by path.

    Raises NoSuchLayer for a name without any.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = {
        path: layer.get_parameter("weight")
        for path, layer in model.named_modules()
        if getattr(layer, "is_adaptable", isinstance(layer, nn.Linear)) and layer is not head
    }
    if options.target_modules == ALL_LINEAR:
        if not linear:
            raise NoSuchLayer("the model has no linear layers that could be adapted")
        return linear
    found: set[str] = set()
    for name in options.target_modules:
        matching = {path for path in linear if path == name or path.endswith(f".{name}")}
        if not matching:
            ends = sorted({path.rpartition(".")[2] for path in linear})
            raise NoSuchLayer(
                f"no linear layer is called {name!r}; there are {', '.join(ends) or 'none'}"
            )
        found |= matching
    return {path: weight for path, weight in linear.items() if path in found}
