"""What a model does with attention, found out by running it: the KV it needs, and if it is exact.

No table of architectures: a model is served if every layer hands its attention to us, in a form we
compute, and if a few packed tokens give the logits that the model gives by itself.
"""

from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from serving.engine.attention import NAME, Form, UnservableModel, masked_attention
from serving.engine.kv import KvShape

WINDOWED = "sliding_attention"
LAYER_TYPES = {"full_attention", WINDOWED}
TOKENS = 7
"""Tokens that a model is probed with."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of a logit, as a share of the largest logit, by dtype."""
GROWING_ROPE = {"dynamic", "longrope"}
"""Rotary embeddings that change with the longest sequence of a batch."""


@dataclass(slots=True)
class Probe:
    """Attends like a step over one sequence that begins here, and notes what each layer keeps."""

    shapes: dict[int, KvShape] = field(default_factory=dict)
    windows: dict[int, int | None] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """See ``Attending``."""
        if layer in self.shapes:
            raise UnservableModel(f"layer {layer} attends more than once")
        (heads, count, _), kv_heads = query.shape, key.shape[0]
        self.shapes[layer] = KvShape(kv_heads, key.shape[-1], value.shape[-1])
        self.windows[layer] = form.window
        places = torch.arange(count, device=query.device)
        seen = places <= places[:, None]
        if form.window is not None:
            seen &= places > places[:, None] - form.window
        mask = query.new_zeros((count, count)).masked_fill_(~seen, float("-inf"))
        mask = mask.repeat(heads // kv_heads, 1)
        folded = query.reshape(1, kv_heads, -1, query.shape[-1])
        done = masked_attention(folded, key[None], value[None], mask, form)
        return done.reshape(heads, count, -1).transpose(0, 1)


def probe(model: PreTrainedModel) -> list[KvShape]:
    """Make a model use our attention; returns the KV of each layer. Raises UnservableModel."""
    config = model.config.get_text_config()
    token_ids = torch.arange(TOKENS, device=model.device) % config.vocab_size
    model.set_attn_implementation("eager")
    own = _logits(model, token_ids)
    model.set_attn_implementation(NAME)
    probe = Probe()
    ours = _logits(model, token_ids, paged=probe)
    layers = range(config.num_hidden_layers)
    if sorted(probe.shapes) != list(layers):
        raise UnservableModel(
            f"{len(probe.shapes)} of its {len(layers)} layers attend through transformers' "
            "attention interface; recurrent, hybrid and cross-attending models are not served"
        )
    types = getattr(config, "layer_types", None) or ["full_attention"] * len(layers)
    if unknown := set(types) - LAYER_TYPES:
        raise UnservableModel(f"layers of type {', '.join(sorted(unknown))} are not served")
    for layer, kind in zip(layers, types, strict=False):
        if kind == WINDOWED and probe.windows[layer] is None:
            raise UnservableModel(f"layer {layer} does not tell the width of its window")
    off = ((ours - own).abs().max() / own.abs().max().clamp(min=1e-6)).item()
    if not off <= TOLERANCE[model.dtype]:
        raise UnservableModel(
            f"its logits come out differently than by its own attention (by {off:.2g} of the "
            "largest): it depends on something that a packed batch does not give it"
        )
    return [probe.shapes[layer] for layer in layers]


def _logits(model: PreTrainedModel, token_ids: torch.Tensor, **passed: Probe) -> torch.Tensor:
    positions = torch.arange(len(token_ids), device=token_ids.device)
    try:
        with torch.inference_mode():
            out = model(
                input_ids=token_ids[None], position_ids=positions[None], use_cache=False, **passed
            )
    except TypeError as error:
        raise UnservableModel(f"its forward pass takes other arguments: {error}") from error
    return out.logits[0].float()


def longest_context(config: PreTrainedConfig) -> int:
    """Tokens that a sequence may have.

    Where rotary embeddings grow with the longest sequence of a batch, up to where they begin to:
    beyond it, answers would depend on batch mates.
    """
    text = config.get_text_config()
    longest = int(getattr(text, "max_position_embeddings", None) or 1 << 20)
    rope = getattr(text, "rope_parameters", None) or {}
    per_type = rope.values() if all(isinstance(each, dict) for each in rope.values()) else [rope]
    for each in per_type:
        if each.get("rope_type") in GROWING_ROPE:
            longest = min(longest, int(each.get("original_max_position_embeddings") or longest))
    return longest
