"""Decoding CTX with the widest kernels that this process may use, found at import."""

from typing import Any, Final

from numpy.typing import NDArray

from codec.context import portable
from codec.context.alphabet import Alphabet
from codec.context.kernels import GROUP
from codec.context.slots import narrow_slots, wide_slots
from codec.machine.instructions import has_quick_gathers, has_word_shuffles, instruction_set


def _wide_kernels() -> dict[int, Any]:
    if instruction_set() == "portable":
        return {}
    from codec.context import wide32

    if has_word_shuffles() and not has_quick_gathers():
        from codec.context import apart16

        return {2: apart16.decode, 4: wide32.decode}
    if not has_quick_gathers():
        from codec.context import halves16

        return {2: halves16.decode, 4: wide32.decode}
    from codec.context import wide16

    return {2: wide16.decode, 4: wide32.decode}


PORTABLE: Final[dict[int, Any]] = {2: portable.decode16, 4: portable.decode32}
"""By word width, kernels for any number of words."""
WIDE: Final = _wide_kernels()
"""By word width, kernels for whole groups; none without vectors."""


def decode(
    streams: tuple[Any, ...],
    tables: bytes,
    alphabet: Alphabet,
    base: NDArray[Any],
    out: NDArray[Any],
    *shape: Any,
) -> bool:
    """As :func:`codec.context.portable.decode16` from the start, for words of any width.

    ``streams`` are its first seven arguments. Raises CorruptFrame if ``tables`` are none.
    """
    start, width = 0, out.itemsize
    turn = (alphabet.turn,) if width == 2 else ()
    wide = WIDE.get(width)
    if wide is not None:
        start = out.size - out.size % GROUP
        slots, shift = narrow_slots(tables, alphabet)
        if not wide(*streams, slots, base, out, 0, *shape, shift, *turn):
            return False
    if start == out.size:
        return True
    slots, shift = wide_slots(tables, alphabet)
    return PORTABLE[width](*streams, slots, base, out, start, *shape, shift, *turn)
