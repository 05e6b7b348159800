"""Adapters added into the weights of their base."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from training.lora.adapter import Adapter


def pairs_of(adapter: Adapter) -> dict[str, torch.Tensor]:
    """All matrices on the CPU, as :func:`merge` wants them."""
    return {
        f"{path}.{side}": getattr(pair, side).detach().cpu().contiguous()
        for path, pair in adapter.pairs.items()
        for side in ("down", "up")
    }


@torch.no_grad()
def merge(model: PreTrainedModel, pairs: Mapping[str, torch.Tensor], scale: float) -> None:
    """``W + scale · B·A``, computed in the adapter's precision and rounded to the base's.

    ``pairs``: ``down [r, in]`` and ``up [out, r]`` by the path of their layer.
    """
    for name, down in pairs.items():
        path, _, side = name.rpartition(".")
        if side == "down":
            weight = model.get_submodule(path).get_parameter("weight")
            added = scale * (pairs[f"{path}.up"] @ down)
            weight.copy_((weight.to(added.dtype) + added).to(weight.dtype))
