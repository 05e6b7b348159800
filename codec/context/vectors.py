"""What decoding CTX needs of thirty-two 16-bit words beyond ``codec.machine.vectors16``.

All but ``spread_bytes`` is plain LLVM, so compiles to one register of AVX-512 or two of AVX2.
Nothing is checked: indexes must lie within their arrays.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types

from codec.machine.instructions import has_word_shuffles
from codec.machine.vectors16 import LANES, mask, words
from codec.machine.vectors32 import array_operation, constant_rows, operation, vector

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_WORDS, _BITS = ir.VectorType(_I16, LANES), ir.VectorType(ir.IntType(1), LANES)
_HALF, _WIDE = ir.VectorType(_I16, 16), ir.VectorType(_I32, 16)
_EIGHTH, _BYTES = ir.VectorType(_I16, 8), ir.VectorType(_I8, 16)
_SHUFFLES: Final = has_word_shuffles()


def _lanes(first: int, count: int, step: int = 1) -> Any:
    lanes = list(range(first, first + count * step, step))
    return ir.Constant(ir.VectorType(_I32, count), lanes)


def _called(name: str) -> Any:
    """An operation of two vectors of words for which LLVM has a function."""

    def build(builder: Any, values: list[Any]) -> Any:
        kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS])
        call = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v32i16")
        return builder.call(call, values)

    return operation(words, (words, words), build)


def _widened(first: int) -> Any:
    def build(builder: Any, values: list[Any]) -> Any:
        half = builder.shuffle_vector(values[0], values[0], _lanes(first, 16))
        return builder.zext(half, _WIDE)

    return operation(vector, (words,), build)


def _build_narrowed(builder: Any, values: list[Any]) -> Any:
    if _SHUFFLES:
        low, high = (builder.bitcast(value, _WORDS) for value in values)
        return builder.shuffle_vector(low, high, _lanes(0, LANES, 2))
    low, high = (builder.trunc(value, _HALF) for value in values)
    return builder.shuffle_vector(low, high, _lanes(0, LANES))


def _build_narrowed_upper(builder: Any, values: list[Any]) -> Any:
    low, high = (builder.bitcast(value, _WORDS) for value in values)
    return builder.shuffle_vector(low, high, _lanes(1, LANES, 2))


def _build_any(builder: Any, values: list[Any]) -> Any:
    bit = ir.IntType(1)
    found = builder.icmp_unsigned("!=", builder.bitcast(values[0], _I32), _I32(0))
    kind = ir.FunctionType(bit, [bit, bit])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.expect.i1")
    return builder.call(call, [found, bit(0)])


def _build_swapped(builder: Any, values: list[Any]) -> Any:
    kind = ir.FunctionType(_WORDS, [_WORDS])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.bswap.v32i16")
    return builder.call(call, values)


def _build_spread_bytes(builder: Any, at: Any, _array: Any, chosen: Any) -> Any:
    if not _SHUFFLES:
        return _spread_by_eighths(builder, at, chosen)
    source = builder.bitcast(at, ir.VectorType(_I8, LANES).as_pointer())
    plain = builder.zext(builder.load(source, align=1), _WORDS)
    kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS, _BITS])
    name = "llvm.x86.avx512.mask.expand.v32i16"
    call = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(call, [plain, ir.Constant(_WORDS, [0] * LANES), chosen])


def _spread_by_eighths(builder: Any, at: Any, chosen: Any) -> Any:
    """Eight lanes at a time, by a table of which byte each takes for each mask."""
    bits = builder.bitcast(chosen, _I32)
    kind = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.ssse3.pshuf.b.128")
    parts = []
    for first in range(0, LANES, 8):
        eight = builder.zext(builder.trunc(builder.lshr(bits, _I32(first)), _I8), _I64)
        row = builder.gep(_ranks(builder.module), [_I32(0), eight])
        loaded = builder.load(builder.bitcast(at, _BYTES.as_pointer()), align=1)
        taken = builder.call(call, [loaded, builder.load(row, align=16)])
        parts.append(builder.bitcast(taken, _EIGHTH))
        at = builder.gep(at, [builder.ctpop(eight)])
    halves = [
        builder.shuffle_vector(low, high, _lanes(0, 16)) for low, high in (parts[:2], parts[2:])
    ]
    return builder.shuffle_vector(*halves, _lanes(0, LANES))


def _ranks(module: Any) -> Any:
    """For every mask of eight lanes: which byte each set lane takes, and zeros for the rest."""
    rows = []
    for bits in range(256):
        ranks = [(bits & ((1 << lane) - 1)).bit_count() for lane in range(8)]
        lanes = [rank if bits >> lane & 1 else 128 for lane, rank in enumerate(ranks)]
        rows.append([byte for first in lanes for byte in (first, 128)])
    return constant_rows(module, "clade.byte_ranks", rows)


smaller: Any = _called("umin")
add_capped: Any = _called("uadd.sat")
"""Sums, 65,535 where they would be more."""
subtract_floored: Any = _called("usub.sat")
"""Differences, zero where they would be less."""
larger: Any = _called("umax")
subtract: Any = operation(words, (words, words), lambda b, v: b.sub(*v))
differ: Any = operation(words, (words, words), lambda b, v: b.xor(*v))
repeat_top: Any = operation(
    words, (words,), lambda b, v: b.ashr(v[0], ir.Constant(_WORDS, [15] * LANES))
)
"""The top bit of each word in all its bits."""
swap_bytes: Any = operation(words, (words,), _build_swapped)
"""The two bytes of each word change places."""
beyond: Any = operation(mask, (words, words), lambda b, v: b.icmp_unsigned(">", *v))
is_any: Any = operation(types.boolean, (mask,), _build_any)
"""Whether a lane of a mask is set; code that depends on it is taken to run seldom."""
widen_lower: Any = _widened(0)
"""The first sixteen words, in 32 bits."""
widen_upper: Any = _widened(16)
"""The last sixteen words, in 32 bits."""
narrow: Any = operation(words, (vector, vector), _build_narrowed)
"""The lower halves of two times sixteen lanes."""
narrow_upper: Any = operation(words, (vector, vector), _build_narrowed_upper)
"""The upper halves of two times sixteen lanes."""
spread_bytes: Any = array_operation(words, (mask,), _build_spread_bytes)
"""``spread_bytes(array, index, mask)``: consecutive bytes in the set lanes, others zero.

Forty-eight bytes from ``index`` on must be readable."""
