"""From a batch to the losses of the jobs in it, by one forward pass."""

import inspect
from collections.abc import Mapping

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from training.lora.attention import NAME as APART
from training.lora.batch import Batch
from training.sched.shape import Layout


class Losses:
    """Of one model under one layout; logits are computed where there is a target, as far as may be.

    For the packed layout the model's attention is replaced for good.
    """

    def __init__(self, model: PreTrainedModel, layout: Layout) -> None:
        self.layout = layout
        self._model = model
        self._chooses_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        if layout is Layout.PACKED:
            model.set_attn_implementation(APART)

    def of(self, batch: Batch, targets: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """Each job's sum of losses over the batch, divided by its targets in the whole step."""
        logits = self._logits(batch)
        if batch.places is not None:
            logits = logits[batch.places]
        each = cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            batch.targets,
            reduction="none",
        )
        own = each.split([share.num_targets for share in batch.shares.values()])
        return {
            name: losses.sum() / max(targets[name], 1)
            for name, losses in zip(batch.shares, own, strict=True)
        }

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the model says of one sequence: ``[1, n]`` to ``[1, n, vocabulary]``."""
        extra = {"lengths": [tokens.shape[1]]} if self.layout is Layout.PACKED else {}
        with torch.no_grad():
            return self._model(input_ids=tokens, use_cache=False, **extra).logits

    def _logits(self, batch: Batch) -> torch.Tensor:
        """``[rows · kept, vocabulary]``."""
        extra: dict[str, object] = {}
        if self.layout is Layout.PACKED:
            extra["lengths"] = batch.lengths
        if self._chooses_logits:
            extra["logits_to_keep"] = batch.kept
        out = self._model(
            input_ids=batch.tokens, position_ids=batch.positions, use_cache=False, **extra
        ).logits
        logits = out if self._chooses_logits else out[:, batch.kept]
        return logits.reshape(-1, logits.shape[-1])
