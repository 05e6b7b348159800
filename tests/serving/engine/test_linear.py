"""Packed linear layers say what dense ones say, and their weights may be replaced."""

import pytest
import torch
from torch import nn

from serving.engine.linear import pack_linear
from tests.fixtures.engines import answers_of, engine_of
from tests.fixtures.tiny_models import copy_of, tiny_model

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 16, 100])
@torch.inference_mode()
def test_as_torch_computes_it(rows: int, bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 20, bias=bias).to(dtype)
    given = torch.randn(1, rows, 48).to(dtype)
    for _ in range(2):
        dense = layer.weight.detach().clone()
        expected = given @ dense.T + (layer.bias if bias else 0)
        pack_linear(layer)
        off = 1e-5 if dtype is torch.float32 else 2e-2
        torch.testing.assert_close(layer(given), expected, atol=off, rtol=off)
        assert torch.equal(layer.weight.to_dense(), dense), "a packed weight is still the weight"
        layer.weight = nn.Parameter(torch.randn(20, 48).to(dtype), requires_grad=False)


@torch.inference_mode()
def test_a_dense_weight_in_place_of_a_packed_one_is_used_at_once() -> None:
    layer = nn.Linear(8, 8, bias=False)
    pack_linear(layer)
    layer.weight = nn.Parameter(torch.eye(8), requires_grad=False)
    given = torch.randn(3, 8)
    assert torch.equal(layer(given), given)


@torch.inference_mode()
def test_packing_keeps_one_copy() -> None:
    layer = nn.Linear(8, 8)
    pack_linear(layer)
    packed = layer.weight
    pack_linear(layer)
    assert layer.weight is packed
    assert [each.layout for each in layer.parameters()] == [torch._mkldnn, torch.strided]


@torch.inference_mode()
def test_what_cannot_be_packed_is_left_alone() -> None:
    class Other(nn.Linear):
        pass

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 8)
            self.head = nn.Linear(8, 8, bias=False)
            self.head.weight = self.embedding.weight

    tied = Tied()
    model = nn.ModuleList([Other(8, 8), nn.Linear(8, 8).half(), tied])
    pack_linear(model)
    assert not any(each.is_mkldnn for each in model.parameters())
    assert tied.head.weight is tied.embedding.weight
    given = torch.randn(2, 8)
    torch.testing.assert_close(tied.head(given), given @ tied.embedding.weight.T)


def test_hooks_are_called() -> None:
    layer, called = nn.Linear(8, 8), []
    pack_linear(layer)
    layer.register_forward_hook(lambda *_: called.append(True))
    with torch.inference_mode():
        layer(torch.zeros(64, 8))
    assert called


def test_a_layer_replaced_under_an_engine_answers_as_a_model_made_so() -> None:
    one, other = tiny_model(), tiny_model(seed=1)
    wanted = copy_of(one)
    wanted.model.layers[0].load_state_dict(other.model.layers[0].state_dict())
    prompts = [[3, 4, 5], [6, 7, 8, 9, 10]]
    engine = engine_of(one)
    before = answers_of(engine, prompts)

    for name, parameter in other.model.layers[0].named_parameters():
        path, _, leaf = name.rpartition(".")
        setattr(one.model.layers[0].get_submodule(path), leaf, nn.Parameter(parameter.detach()))
    engine.become([], None)

    assert all(each.weight.is_mkldnn for each in one.modules() if type(each) is nn.Linear)
    assert answers_of(engine, prompts) == answers_of(engine_of(wanted), prompts)
    assert answers_of(engine, prompts) != before
