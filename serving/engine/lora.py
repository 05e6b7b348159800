"""LoRA adapters over one base: several in one batch, each on the tokens of those who asked for it.

An adapter adds ``scale · B·A·x`` to the output of linear layers (Hu et al., arXiv 2106.09685). The
base stays as it is: what is added is added by hooks, to the rows of the pack that want it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn


class BadAdapter(Exception):
    """An adapter that cannot be served over this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """``down [rank, in]`` and ``up [out, rank]``, the scale multiplied into ``up``."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """Pairs by the path of the linear layer in the model. ``root``: where it came from."""

    root: str
    pairs: Mapping[str, Pair]


Rows = Mapping[str, torch.Tensor]
"""Rows of the pack by the name of the adapter they want."""


class Adapters:
    """The adapters of one model, by name."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._serial = 0
        self._salts: dict[str, bytes] = {}
        self._pairs: defaultdict[str, dict[str, Pair]] = defaultdict(dict)
        """By layer, then by adapter."""
        self._hooked: set[str] = set()
        self._rows: Rows = {}

    @property
    def names(self) -> Sequence[str]:
        """Those that can be asked for."""
        return list(self._salts)

    def salt_of(self, name: str | None) -> bytes:
        """What tells KV blocks of this adapter from all others, earlier ones of its name too."""
        return b"" if name is None else self._salts[name]

    def add(self, name: str, adapter: Adapter) -> None:
        """Have an adapter, in place of one of the same name. Raises BadAdapter, adding nothing."""
        fitted = {path: self._fit(path, pair) for path, pair in adapter.pairs.items()}
        self.remove(name)
        for path, pair in fitted.items():
            self._pairs[path][name] = pair
            if path not in self._hooked:
                self._hooked.add(path)
                self._model.get_submodule(path).register_forward_hook(partial(self._adapt, path))
        self._serial += 1
        self._salts[name] = f"{self._serial}:{name}".encode()

    def remove(self, name: str) -> None:
        """Forget an adapter, if it is there."""
        self._salts.pop(name, None)
        for pairs in self._pairs.values():
            pairs.pop(name, None)

    def clear(self) -> None:
        """Forget all adapters."""
        for name in self.names:
            self.remove(name)

    def choose(self, rows: Rows) -> None:
        """Who wants what in the next forward pass."""
        self._rows = rows

    def _fit(self, path: str, pair: Pair) -> Pair:
        try:
            layer = self._model.get_submodule(path)
        except AttributeError:
            raise BadAdapter(f"the model has no layer {path}") from None
        if not isinstance(layer, nn.Linear) or not any(part.isdigit() for part in path.split(".")):
            raise BadAdapter(f"{path} is no linear layer inside the model's blocks")
        (rank, width), (height, rank_up) = pair.down.shape, pair.up.shape
        if (height, width, rank) != (layer.out_features, layer.in_features, rank_up):
            raise BadAdapter(f"the adapter's shapes do not fit {path}")
        weight = layer.weight
        return Pair(pair.down.to(weight), pair.up.to(weight))

    def _adapt(
        self, path: str, _layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> None:
        for name, rows in self._rows.items():
            pair = self._pairs[path].get(name)
            if pair is None:
                continue
            [given] = inputs
            taken = given.reshape(-1, given.shape[-1])[rows]
            added = (taken @ pair.down.T) @ pair.up.T
            output.view(-1, output.shape[-1]).index_add_(0, rows, added)
