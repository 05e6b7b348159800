"""Results asked what they say, so that what comes back from a hub can be compared bit for bit."""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

Logits = Callable[[torch.Tensor], torch.Tensor]
"""``[1, n]`` token ids to ``[1, n, vocabulary]``."""
PROBES = ((3,), (5, 3, 4, 3, 5), tuple(range(3, 20)))
"""Token ids that a published result is asked about; every vocabulary has them."""


def asking(model: PreTrainedModel) -> Logits:
    """Asks through the attention that all are compared under."""
    model.set_attn_implementation("sdpa")

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=tokens.to(model.device), use_cache=False).logits

    return logits


def alike(ours: Logits, theirs: Logits) -> bool:
    """Whether both say the same to every probe, bit for bit."""
    probes = (torch.tensor([probe]) for probe in PROBES)
    return all(torch.equal(ours(probe), theirs(probe)) for probe in probes)
