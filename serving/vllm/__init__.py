"""Clade inside vLLM: its models by ``--load-format clade``, our policies by ``--scheduler-cls``.

Names that vLLM is told of are found here, and vLLM itself is imported only when one is asked for:
nothing else of Clade needs it.
"""

from importlib import import_module
from typing import Any

_HOMES = {"ScorpioScheduler": "scheduler", "SloMiddleware": "middleware"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
