"""Whether sequences of a model can lie in one row, found out by trying."""

import torch
from transformers import PreTrainedModel

from training.lora.attention import NAME as APART
from training.lora.attention import UnpackableModel
from training.sched.shape import Layout

PROBES = ((3, 4, 5), (5, 3, 4, 3, 5))
"""Token ids that every vocabulary has."""
TOLERANCE = 1e-3
"""Of logits, relative to the largest: rounding is far below in float32, and in float16 at it."""


@torch.no_grad()
def best_layout(model: PreTrainedModel) -> Layout:
    """Packed, the faster one, if two sequences in a row answer as each by itself; else padded.

    Models that carry a state along the row do not, nor those whose attention needs more than plain
    causal scores. The model is left as it was.
    """
    before = model.config._attn_implementation
    assert before is not None
    device = next(model.parameters()).device
    rows = [torch.tensor([probe], device=device) for probe in PROBES]
    alone = torch.cat([model(input_ids=row, use_cache=False).logits[0] for row in rows]).float()
    lengths = [len(probe) for probe in PROBES]
    places = torch.cat([torch.arange(length, device=device) for length in lengths])
    try:
        model.set_attn_implementation(APART)
        together = model(
            input_ids=torch.cat(rows, dim=1),
            position_ids=places[None],
            use_cache=False,
            lengths=lengths,
        ).logits[0]
    except (UnpackableModel, TypeError, ValueError):
        return Layout.PADDED
    finally:
        model.set_attn_implementation(before)
    most = TOLERANCE * float(alone.abs().max())
    is_same = bool(((together.float() - alone).abs() <= most).all())
    return Layout.PACKED if is_same else Layout.PADDED
