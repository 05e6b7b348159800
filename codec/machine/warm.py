"""Every kernel compiled ahead of its first use, and kept for the processes to come."""

import importlib
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

_VECTORS: Final = "machine.vectors32"
"""What no module is built from that a processor without vectors could compile."""
_BYTES: Final = "machine.vectors8"
"""What modules are built from that a processor with word shuffles has no use for."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What :func:`load` found and did."""

    instructions: str
    """avx512, avx2 or portable."""
    kernels: int
    compiled: int
    """Kernels that were not in the cache."""
    seconds: float
    directory: str | None
    """Where compiled code is kept; None if no directory can be written: see NUMBA_CACHE_DIR."""


def load() -> Loaded:
    """Make every kernel ready: from the cache on disk, or compiled and put there.

    Takes under a second when all is cached, some ten seconds of CPU time when nothing is. A
    directory that is complete is marked so, and from then on serves even if it is read-only.
    """
    began = time.perf_counter()
    from codec.machine import compiling
    from codec.machine.instructions import has_word_shuffles, instruction_set

    instructions = instruction_set()
    useless = _VECTORS if instructions == "portable" else _BYTES if has_word_shuffles() else None
    modules = [
        importlib.import_module(f"codec.{name}")
        for name in compiling.kernel_modules()
        if useless not in compiling.built_from(name)
    ]
    kernels = [kernel for module in modules for kernel in _kernels(module)]
    place = compiling.cache_place()
    kept = place is not None and all(kernel.stats.cache_path for kernel in kernels)
    if place is not None and kept:
        with suppress(OSError):  # a complete directory needs no mark if it has one
            (place / compiling.warm_marker()).touch()
    return Loaded(
        instructions=instructions,
        kernels=sum(len(kernel.nopython_signatures) for kernel in kernels),
        compiled=sum(
            len(kernel.nopython_signatures) - sum(kernel.stats.cache_hits.values())
            for kernel in kernels
        ),
        seconds=round(time.perf_counter() - began, 3),
        directory=str(place) if kept else None,
    )


def _kernels(module: Any) -> list[Any]:
    """Compiled functions that a module defines; those that only become part of others aside."""
    from numba.core.dispatcher import Dispatcher

    return [
        value
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
        and value.py_func.__module__ == module.__name__
        and value.nopython_signatures
    ]
