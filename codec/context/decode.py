"""Decoding CTX with the widest kernels that this process may use, found at import."""

from typing import Any, Final

from numpy.typing import NDArray

from codec.context import portable
from codec.context.kernels import GROUP
from codec.machine.instructions import instruction_set


def _wide_kernels() -> dict[int, Any]:
    if instruction_set() == "portable":
        return {}
    from codec.context import wide16, wide32

    return {2: wide16.decode, 4: wide32.decode}


PORTABLE: Final[dict[int, Any]] = {2: portable.decode16, 4: portable.decode32}
"""By word width, kernels for any number of words."""
WIDE: Final = _wide_kernels()
"""By word width, kernels for whole groups; none without vectors."""


def decode(streams: tuple[Any, ...], base: NDArray[Any], out: NDArray[Any], *shape: Any) -> bool:
    """As :func:`codec.context.portable.decode16` from the start, for words of any width.

    ``streams`` are its first eight arguments.
    """
    start = 0
    wide = WIDE.get(out.itemsize)
    if wide is not None:
        start = out.size - out.size % GROUP
        if not wide(*streams, base, out, 0, *shape):
            return False
    return start == out.size or PORTABLE[out.itemsize](*streams, base, out, start, *shape)
