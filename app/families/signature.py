"""Architecture signature: one digest for all models with the same tensors, whatever their values.

What goes in: tensor names and shapes, sorted, over all weight files of a revision, so that sharding
and file names do not matter. What stays out: dtypes, so that the fp32 twin of a bf16 model matches;
and the row count of vocabulary tensors, so that a model with added tokens still matches its base.
A signature only proposes candidates; bytes decide.
"""

import re
from collections.abc import Iterable

from blake3 import blake3

VOCABULARY_NAME = re.compile(
    r"(^|[._])(embed\w*|\w*embeddings?|wte|lm_head|embed_out|token_embd|shared|decoder|output)"
    r"[._](weight|bias)$"
)
"""Names of tensors whose first dimension is the vocabulary, in the layouts of common libraries."""

VOCABULARY_ROWS = 1000
"""A first dimension below this is not a vocabulary (type or position embeddings)."""


def architecture_signature(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    """Hex digest of (name, shape) pairs, 64 characters; shape is slowest dimension first."""
    lines = sorted({f"{name}\0{_shape(name, shape)}" for name, shape in tensors})
    return blake3("\n".join(lines).encode()).hexdigest()


def _shape(name: str, shape: tuple[int, ...]) -> str:
    rows, *rest = shape or (1,)
    if rows >= VOCABULARY_ROWS and VOCABULARY_NAME.search(name):
        return "x".join(["V", *map(str, rest)])
    return "x".join(map(str, shape))
