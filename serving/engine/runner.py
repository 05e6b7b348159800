"""A model and its KV pool: a packed step in, the logits of those who are due a token out."""

from collections.abc import Sequence as Seq

import torch
from transformers import PreTrainedModel

from serving.engine.attention import UnservableModel
from serving.engine.kv import KvPool, block_nbytes
from serving.engine.linear import pack_linear
from serving.engine.lora import Adapters
from serving.engine.probe import longest_context, probe
from serving.engine.sequence import Sequence
from serving.engine.step import Part, pack


class Runner:
    """Runs steps of one model. Not thread-safe.

    The pool has ``num_blocks``, or as many as fit into ``kv_nbytes``. Raises UnservableModel.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        num_blocks: int | None = None,
        kv_nbytes: int = 0,
        block_size: int = 16,
    ) -> None:
        model.eval()
        pack_linear(model)
        shapes = probe(model)
        if num_blocks is None:
            num_blocks = kv_nbytes // block_nbytes(shapes, block_size, model.dtype)
        if num_blocks < 1:
            raise UnservableModel(f"not one KV block fits into {kv_nbytes} bytes")
        self.model = model
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.adapters = Adapters(model)
        self.longest_context = longest_context(model.config)
        self.pool = KvPool(
            shapes,
            num_blocks=num_blocks,
            block_size=block_size,
            dtype=model.dtype,
            device=model.device,
        )

    @property
    def longest(self) -> int:
        """Tokens that prompt and answer may have together."""
        return min(self.longest_context, self.pool.num_blocks * self.pool.block_size)

    def pack(self) -> None:
        """Weights were replaced: have the new ones be as quick as those from the start."""
        pack_linear(self.model)

    @torch.inference_mode()
    def run(self, parts: Seq[Part]) -> tuple[list[Sequence], torch.Tensor]:
        """Compute pending tokens. Returns whose last it was, and their logits ``[n, vocab]``."""
        step = pack(parts, self.pool, self.model.device)
        self.adapters.choose(step.adapter_rows())
        logits = self.model(
            input_ids=step.token_ids[None],
            position_ids=step.positions[None],
            use_cache=False,
            logits_to_keep=step.sampled,
            paged=step,
        ).logits
        return step.sampling, logits[0]
