"""Linear layers by whichever library is faster say the same, and weights may change under them."""

import pytest
import torch
from torch import nn

from serving.engine.linear import LEAST_ROWS, speed_up_linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, LEAST_ROWS - 1, LEAST_ROWS, 100])
@torch.inference_mode()
def test_as_torch_computes_it(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 20, bias=bias)
    given = torch.randn(1, rows, 48)
    speed_up_linear(layer)

    for _ in range(2):
        expected = given @ layer.weight.T + (layer.bias if bias else 0)
        torch.testing.assert_close(layer(given), expected, atol=1e-5, rtol=1e-5)
        layer.weight.copy_(torch.randn(20, 48))


@torch.inference_mode()
def test_hooks_are_called_and_what_is_no_plain_fp32_layer_is_left_alone() -> None:
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(8, 8), Other(8, 8), nn.Linear(8, 8).bfloat16())
    speed_up_linear(model)
    called = []
    model[0].register_forward_hook(lambda *_: called.append(True))
    model[0](torch.zeros(64, 8))

    assert called
    assert ["forward" in vars(layer) for layer in model] == [True, False, False]
