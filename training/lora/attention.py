"""Causal attention over many sequences in one row, each by itself.

A block-diagonal mask would let NaN of one job reach all others (0 · NaN is NaN) and cost the square
of all tokens together; here a sequence meets no other.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "clade_sequences"


class UnpackableModel(Exception):
    """Sequences of this model cannot be packed; the message says why."""


def attend_apart(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001  what may be seen is known from the lengths
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' attention interface: tensors ``[1, heads, tokens, dim]``; dropout is none.

    ``lengths`` of the sequences, in order; given to the model's forward, which hands them through.
    """
    plain = softcap is None and s_aux is None and position_bias is None
    if not plain or not getattr(module, "is_causal", True):
        raise UnpackableModel('its attention is not plainly causal; use layout = "padded"')
    outs = [
        scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_band(q.shape[2], sliding_window, q.device),
            scale=scaling,
            is_causal=sliding_window is None or q.shape[2] <= sliding_window,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        for q, k, v in zip(
            *(tensor.split(list(lengths), dim=2) for tensor in (query, key, value)), strict=True
        )
    ]
    return torch.cat(outs, dim=2).transpose(1, 2), None


def _band(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Who sees whom under a sliding window that is shorter than the sequence."""
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    behind = place[:, None] - place[None]
    return (behind >= 0) & (behind < window)


AttentionInterface.register(NAME, attend_apart)
