"""Models are packed where that changes nothing, and only there."""

import pytest
import torch

from tests.fixtures.tiny_models import tiny_model
from training.lora.packing import best_layout
from training.sched.shape import Layout


@pytest.mark.parametrize(
    ("model_type", "layout"),
    [
        ("llama", Layout.PACKED),
        ("qwen2", Layout.PACKED),
        ("mistral", Layout.PACKED),
        ("gemma2", Layout.PADDED),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_whose_attention_is_plain_are_packed(
    model_type: str, layout: Layout, dtype: torch.dtype
) -> None:
    model = tiny_model(model_type, dtype=dtype)
    tokens = torch.tensor([[3, 4, 5, 6]])
    before = model(input_ids=tokens).logits
    assert best_layout(model) is layout
    assert torch.equal(model(input_ids=tokens).logits, before)
