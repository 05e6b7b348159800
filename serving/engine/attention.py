"""Attention over paged KV, in the form that transformers lets a model's layers call.

Models hand every layer's queries, keys and values to the function registered here, and pass
``paged`` through to it: the step that is being computed, or a probe of the model.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "clade_paged"


class UnservableModel(Exception):
    """The engine cannot run this model exactly; the message says why."""


class Attending(Protocol):
    """Whoever computes attention for the layers of one forward pass."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: "Form",
    ) -> torch.Tensor:
        """All of this pass; returns ``[tokens, heads, value dim]``.

        ``query [heads, tokens, dim]``, ``key`` and ``value`` likewise with KV heads.
        """
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """How a layer attends.

    ``window``: of the last so many tokens, its own included. ``softcap``: of the scores (Gemma 2).
    ``sinks``: ``[heads]``, scores without a value (gpt-oss).
    """

    scale: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None

    @property
    def is_plain(self) -> bool:
        """Whether torch's fused kernels compute it."""
        return self.softcap is None and self.sinks is None


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001  what may be seen is known from the step
    *,
    paged: Attending,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' attention interface: tensors ``[1, heads, tokens, dim]`` of a packed batch."""
    if position_bias is not None or not getattr(module, "is_causal", True):
        raise UnservableModel("its attention is not plainly causal")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    form = Form(scale, sliding_window, softcap, s_aux)
    layer = int(module.layer_idx)  # pyright: ignore[reportArgumentType]
    out = paged.attend(layer, query[0], key[0], value[0], form)
    return out.unsqueeze(0), None


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: Form
) -> torch.Tensor:
    """Attention of ``[heads, n, dim]`` over the same ``n`` tokens; plain forms only."""
    return scaled_dot_product_attention(
        query[None],
        key[None],
        value[None],
        scale=form.scale,
        is_causal=True,
        enable_gqa=query.shape[0] != key.shape[0],
    )[0]


def masked_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, form: Form
) -> torch.Tensor:
    """Attention of ``query [rows, kv_heads, group * n, dim]`` over ``[rows, kv_heads, m, dim]``.

    Query heads that share a KV head are folded into its queries, so keys are never repeated.
    ``mask`` is added to the scores. Soft caps and sinks take the long way, computed as
    transformers' eager attention does.
    """
    if form.is_plain:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=form.scale)
    scores = torch.matmul(query, key.transpose(2, 3)) * form.scale
    if form.softcap is not None:
        scores = torch.tanh(scores / form.softcap) * form.softcap
    scores = scores + mask
    if form.sinks is None:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    else:
        sinks = form.sinks.to(scores.dtype).view(1, key.shape[1], -1, 1)
        sinks = sinks.repeat_interleave(query.shape[2] // sinks.shape[2], dim=2)
        scores = torch.cat([scores, sinks.expand(scores.shape[0], -1, -1, -1)], dim=-1)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)[..., :-1]
    return torch.matmul(weights.to(value.dtype), value)


AttentionInterface.register(NAME, paged_attention)
