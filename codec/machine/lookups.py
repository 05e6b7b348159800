"""Elements of a table in memory for many places at once, the quickest way for the instruction set.

AVX-512 gathers. With AVX2 a gather of eight takes some processors (Zen 5) nearly twice as long as
eight loads, and so does Zen 4 for sixteen: there, places leave the registers several at a time and
elements come one by one.
Nothing is checked: places must lie within their tables.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils

from codec.machine.instructions import has_quick_gathers
from codec.machine.vectors16 import words
from codec.machine.vectors32 import LANES, array_operation, vector

_GATHERS: Final = has_quick_gathers()

_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_WORDS = ir.VectorType(_I32, LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def _lanes(first: int, count: int) -> Any:
    return ir.Constant(ir.VectorType(_I32, count), list(range(first, first + count)))


def _gathered(builder: Any, at: Any, places: Any) -> Any:
    pointer = _I8.as_pointer()
    kind = ir.FunctionType(_WORDS, [_WORDS, pointer, _WORDS, _BITS, _I32])
    name = "llvm.x86.avx512.mask.gather.dpi.512"
    call = cgutils.get_or_insert_function(builder.module, kind, name)
    none, all_ = ir.Constant(_WORDS, [0] * LANES), ir.Constant(_BITS, [1] * LANES)
    return builder.call(call, [none, builder.bitcast(at, pointer), places, all_, _I32(4)])


def _picked(builder: Any, at: Any, places: Any, bits: int) -> Any:
    """Of sixteen places of so many bits: several leave in a register of 64."""
    at, together = builder.bitcast(at, _I32.as_pointer()), 64 // bits
    whole = builder.bitcast(places, ir.VectorType(_I64, LANES // together))
    half = ir.VectorType(_I32, LANES // 2)
    # Told nothing of what it holds, LLVM does not make it a second time from narrower loads.
    finished = ir.InlineAsm(ir.FunctionType(half, [half]), "", "=v,0")
    halves = []
    for first in (0, LANES // 2):
        elements = ir.Constant(half, ir.Undefined)
        for lane in range(LANES // 2):
            several = builder.extract_element(whole, _I32((first + lane) // together))
            shifted = builder.lshr(several, _I64(bits * ((first + lane) % together)))
            place = builder.and_(shifted, _I64((1 << bits) - 1))
            element = builder.load(builder.gep(at, [place]))
            elements = builder.insert_element(elements, element, _I32(lane))
        halves.append(builder.call(finished, [elements]))
    return builder.shuffle_vector(*halves, _lanes(0, LANES))


def _build_look_up(builder: Any, at: Any, _array: Any, places: Any) -> Any:
    return _gathered(builder, at, places) if _GATHERS else _picked(builder, at, places, 32)


def _half_picked(first: int) -> Any:
    def build(builder: Any, at: Any, _array: Any, places: Any) -> Any:
        chosen = builder.shuffle_vector(places, places, _lanes(first, LANES))
        kind = ir.VectorType(ir.IntType(16), LANES)
        chosen = builder.call(ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=v,0"), [chosen])
        return _picked(builder, at, chosen, 16)

    return array_operation(vector, (words,), build)


look_up: Any = array_operation(vector, (vector,), _build_look_up)
"""``look_up(array, index, places)``: elements of 32 bits from index on."""
pick_lower: Any = _half_picked(0)
"""As ``look_up`` without a gather, for the first sixteen of thirty-two places of 16 bits."""
pick_upper: Any = _half_picked(LANES)
"""As ``pick_lower``, for the last sixteen."""
