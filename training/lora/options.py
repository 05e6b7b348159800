"""What a user may say of a LoRA job, checked before it is believed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ALL_LINEAR = "all-linear"
MAX_RANK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOptions:
    """LoRA (arXiv 2106.09685), under PEFT's names.

    ``r``: rank. ``alpha``: what is added is multiplied by ``alpha / r``, with ``rslora`` by
    ``alpha / √r`` (arXiv 2312.03732); default twice the rank. ``dropout``: share of the adapter's
    input that is left out in training. ``target_modules``: ends of the paths of linear layers, or
    "all-linear": all but the head.
    """

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: Sequence[str] | Literal["all-linear"] = ALL_LINEAR
    rslora: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.r <= MAX_RANK:
            raise ValueError(f"r is a rank from 1 to {MAX_RANK}, not {self.r}")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha is above 0, not {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {self.dropout}")
        if not self.target_modules or (
            isinstance(self.target_modules, str) and self.target_modules != ALL_LINEAR
        ):
            raise ValueError(
                'target_modules is "all-linear" or a list of names such as ["q_proj", "v_proj"]'
            )

    @property
    def lora_alpha(self) -> float:
        """Alpha as PEFT's configuration has it."""
        return 2.0 * self.r if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        return self.lora_alpha / (math.sqrt(self.r) if self.rslora else self.r)
