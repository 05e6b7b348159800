"""Decoding CTX with the widest kernels that this process may use, found at import."""

from typing import Any, Final

from numpy.typing import NDArray

from codec import context_kernels
from codec.instructions import instruction_set


def _wide_kernels() -> dict[int, Any]:
    if instruction_set() == "portable":
        return {}
    from codec import context_wide

    return {2: context_wide.decode16, 4: context_wide.decode32}


WIDE: Final = _wide_kernels()
"""By word width, kernels for whole groups; none without vectors."""
_portable: Any = context_kernels.decode


def decode(streams: tuple[Any, ...], base: NDArray[Any], out: NDArray[Any], *shape: Any) -> bool:
    """As :func:`codec.context_kernels.decode` from the start; ``streams`` are its first seven."""
    start = 0
    wide = WIDE.get(out.itemsize)
    if wide is not None:
        start = out.size - out.size % context_kernels.GROUP
        if not wide(*streams, base, out, *shape):
            return False
    return start == out.size or _portable(*streams, base, out, start, *shape)
