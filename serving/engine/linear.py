"""Linear layers of a CPU in 32 bits: by oneDNN where that is faster than torch's own choice.

torch calls MKL there, which is slow on processors of other makers: on AMD's oneDNN takes half the
time for 64 rows and more, and as long for a few.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

LEAST_ROWS = 16


def speed_up_linear(model: nn.Module) -> None:
    """Have all linear layers of a model choose by the rows they are given.

    Weights stay where they are, as they are: they may be replaced in place.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for layer in model.modules():
        if not isinstance(layer, nn.Linear) or type(layer) is not nn.Linear:
            continue
        if layer.weight.device.type == "cpu" and layer.weight.dtype is torch.float32:
            layer.forward = partial(_linear, layer)  # pyright: ignore[reportAttributeAccessIssue]


def _linear(layer: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    if given.numel() < LEAST_ROWS * layer.in_features:
        return functional.linear(given, layer.weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise(given, layer.weight, layer.bias, "none", [], "")
