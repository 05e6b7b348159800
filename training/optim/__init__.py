"""Offloaded full fine-tuning: ZenFlow, which updates what matters at once and the rest behind."""

from training.optim.zenflow import ZenFlow, ZenFlowOptions

__all__ = ["ZenFlow", "ZenFlowOptions"]
