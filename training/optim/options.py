"""What a user may say of ZenFlow, checked before it is believed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ZenFlowOptions:
    """ZenFlow (arXiv 2505.12242), under the names of DeepSpeed's configuration where it has one.

    ``topk_ratio`` k: share of the columns of every matrix that are updated on the device in every
    step. ``update_interval`` S: steps whose gradients make one update of the rest on the host;
    "auto": until what was put off weighs as much as what was not, in ``auto_ratio`` of the
    matrices, and K steps at most. ``select_interval`` K: steps between two choices of columns, at
    least S and, unless S is "auto", a multiple of it. ``full_warm_up_rounds`` R: first steps, in
    which everything is updated at once. ``overlap_step``: the host works while the device goes on;
    gradients of a window then take effect one window later, at most 2 S steps after they were
    computed. ``deterministic``: they take effect at that step exactly, whenever the host is done;
    without it as soon as it is done. ``deferred_lr_scale``: what the host's rate is multiplied by,
    "sqrt": by the root of the window's steps. Not in the paper: the rest gets an S-th of the
    updates, and a larger rate makes up for some of that.
    """

    topk_ratio: float = 0.1
    update_interval: int | Literal["auto"] = 4
    select_interval: int = 64
    full_warm_up_rounds: int = 0
    overlap_step: bool = True
    deterministic: bool = True
    auto_ratio: float = 0.99
    deferred_lr_scale: float | Literal["sqrt"] = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.topk_ratio <= 1:
            raise ValueError(f"topk_ratio is a share between 0 and 1, not {self.topk_ratio}")
        interval = self.update_interval
        if interval != "auto" and interval < 1:
            raise ValueError(f'update_interval is a number of steps or "auto", not {interval}')
        if self.select_interval < (1 if interval == "auto" else interval):
            raise ValueError(
                f"select_interval ({self.select_interval}) must be at least update_interval"
                f" ({interval})"
            )
        if interval != "auto" and self.select_interval % interval:
            raise ValueError(
                f"select_interval ({self.select_interval}) must be a multiple of update_interval"
                f" ({interval}): columns change hands between two windows"
            )
        if self.full_warm_up_rounds < 0:
            raise ValueError("full_warm_up_rounds is not negative")
        if not 0 < self.auto_ratio <= 1:
            raise ValueError(f"auto_ratio is a share above 0, not {self.auto_ratio}")
        scale = self.deferred_lr_scale
        if scale != "sqrt" and not scale > 0:
            raise ValueError(f'deferred_lr_scale is above 0 or "sqrt", not {scale}')

    def window_rate(self, lr: float, num_steps: int) -> float:
        """The host's learning rate for a window of so many steps."""
        scale = self.deferred_lr_scale
        return lr * (num_steps**0.5 if scale == "sqrt" else scale)
