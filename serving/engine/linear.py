"""Linear layers of a CPU: their weights in the layout that oneDNN's kernels read, and nowhere else.

A weight in rows is laid out anew at every call, which for a step of decodes takes longer than the
product itself. Packed once, it is still the layer's ``weight``, of the same shape and type, but can
only be replaced as a whole; dense ones that come in its place are used as they are until packed.
"""

from collections import Counter
from functools import partial

import torch
from torch import nn
from torch.nn import functional


def pack_linear(model: nn.Module) -> None:
    """Pack the dense weights of all plain linear layers, one after the other.

    Weights that other modules share (those of embeddings) stay as they are, and so does what oneDNN
    does not compute here.
    """
    if not torch.backends.mkldnn.is_available():
        return
    shared = Counter(map(id, _parameters_of_all(model)))
    for layer in model.modules():
        if type(layer) is not nn.Linear:
            continue
        if not layer.weight.is_mkldnn and shared[id(layer.weight)] == 1 and _packs(layer.weight):
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
            layer.weight = nn.Parameter(packed, requires_grad=False)
        layer.forward = partial(_linear, layer)  # pyright: ignore[reportAttributeAccessIssue]


def _parameters_of_all(model: nn.Module) -> list[nn.Parameter]:
    return [each for module in model.modules() for each in module.parameters(recurse=False)]


def _packs(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu":
        return False
    return weight.dtype is torch.float32 or (
        weight.dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _linear(layer: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    if layer.weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(given, layer.weight, layer.bias, "none", [], "")
    return functional.linear(given, layer.weight, layer.bias)
