"""A model and its KV pool: a packed step in, the logits of those who are due a token out."""

from collections.abc import Sequence as Seq

import torch
from transformers import PreTrainedModel

from serving.engine.kv import KvPool
from serving.engine.probe import longest_context, probe
from serving.engine.sequence import Sequence
from serving.engine.step import Part, pack


class Runner:
    """Runs steps of one model. Not thread-safe."""

    def __init__(self, model: PreTrainedModel, *, num_blocks: int, block_size: int = 16) -> None:
        model.eval()
        self.model = model
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.longest_context = longest_context(model.config)
        self.pool = KvPool(
            probe(model),
            num_blocks=num_blocks,
            block_size=block_size,
            dtype=model.dtype,
            device=model.device,
        )

    @torch.inference_mode()
    def run(self, parts: Seq[Part]) -> tuple[list[Sequence], torch.Tensor]:
        """Compute pending tokens. Returns whose last it was, and their logits ``[n, vocab]``."""
        step = pack(parts, self.pool, self.model.device)
        logits = self.model(
            input_ids=step.token_ids[None],
            position_ids=step.positions[None],
            use_cache=False,
            logits_to_keep=step.sampled,
            paged=step,
        ).logits
        return step.sampling, logits[0]
