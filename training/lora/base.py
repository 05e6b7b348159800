"""The base that all jobs share: frozen, its linear layers looking up who wants what added."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import linear

from training.lora.adapter import Pair
from training.lora.function import FusedLora, Segment

Additions = Mapping[str, Sequence[tuple[Segment, Pair]]]
"""What jobs want added at each layer, by its path."""


class Wanted:
    """What is to be added in the forward pass that runs."""

    def __init__(self) -> None:
        self.by_path: Additions = {}


class FusedLinear(nn.Module):
    """A linear layer with its own parameters, under their old names, and others' adapters."""

    is_adaptable = True

    def __init__(self, layer: nn.Linear, path: str, wanted: Wanted) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._path = path
        self._wanted = wanted

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """``[..., in]`` to ``[..., out]``."""
        wanted = self._wanted.by_path.get(self._path, ())
        if not wanted:
            return linear(given, self.weight, self.bias)
        sides = [side for _, pair in wanted for side in pair]
        segments = [segment for segment, _ in wanted]
        return FusedLora.apply(given, self.weight, self.bias, segments, *sides)


class SharedBase:
    """A model whose linear layers were put behind :class:`FusedLinear`. It is frozen for good."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.requires_grad_(requires_grad=False)
        self._wanted = Wanted()
        head = getattr(model, "get_output_embeddings", lambda: None)()
        for path, layer in list(model.named_modules()):
            if type(layer) is nn.Linear and layer is not head:
                model.set_submodule(path, FusedLinear(layer, path, self._wanted))

    @contextmanager
    def adding(self, additions: Additions) -> Iterator[None]:
        """Forward passes in here have this added."""
        self._wanted.by_path = additions
        try:
            yield
        finally:
            self._wanted.by_path = {}

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return next(self.model.parameters()).device
