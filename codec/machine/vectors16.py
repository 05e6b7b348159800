"""Thirty-two unsigned 16-bit integers as one Numba value, for AVX-512 with its word shuffles.

As ``codec.machine.vectors32``, with the instructions that look words up in registers and spread
them: those of AVX512BW and AVX512_VBMI2. Nothing is checked: indexes must lie within their arrays.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types

from codec.machine.vectors32 import VectorType, array_operation, operation, vector

LANES: Final = 32

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_WORDS, _BITS = ir.VectorType(_I16, LANES), ir.VectorType(_I1, LANES)
_PAIRS = ir.VectorType(_I32, LANES // 2)
_FLOATS = ir.VectorType(ir.FloatType(), LANES // 2)

words: Final = VectorType("u16x32", _WORDS)
mask: Final = VectorType("bool32", _BITS)


def _call(builder: Any, name: str, kinds: list[Any], values: list[Any]) -> Any:
    """An instruction that LLVM has a name for; its result is words."""
    kind = ir.FunctionType(_WORDS, kinds)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def _binary(name: str) -> Any:
    return operation(words, (words, words), lambda b, v: getattr(b, name)(*v))


def _build_splat(builder: Any, values: list[Any]) -> Any:
    first = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), values[0], _I32(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_I32, LANES), [0] * 32))


def _build_high(builder: Any, values: list[Any]) -> Any:
    return _call(builder, "llvm.x86.avx512.pmulhu.w.512", [_WORDS, _WORDS], values)


def _build_lookup(builder: Any, values: list[Any]) -> Any:
    lower, indexes, upper = values
    name = "llvm.x86.avx512.vpermi2var.hi.512"
    return _call(builder, name, [_WORDS] * 3, [lower, indexes, upper])


def _build_count(builder: Any, values: list[Any]) -> Any:
    return builder.zext(builder.ctpop(builder.bitcast(values[0], _I32)), _I64)


def _build_squeeze(builder: Any, values: list[Any]) -> Any:
    name = "llvm.x86.avx512.mask.compress.v32i16"
    rest = ir.Constant(_WORDS, [0] * LANES)
    return _call(builder, name, [_WORDS, _WORDS, _BITS], [values[0], rest, values[1]])


def _build_quotient(builder: Any, values: list[Any]) -> Any:
    dividend, divisor = (builder.uitofp(value, _FLOATS) for value in values)
    return builder.fptoui(builder.fdiv(dividend, divisor), _PAIRS)


def _zipped(first: int) -> Any:
    lanes = [lane for k in range(first, first + LANES // 2) for lane in (k, LANES + k)]
    order = ir.Constant(ir.VectorType(_I32, LANES), lanes)
    return operation(words, (words, words), lambda b, v: b.shuffle_vector(*v, order))


add: Any = _binary("add")
multiply: Any = _binary("mul")
both: Any = _binary("and_")
either: Any = _binary("or_")
shift_up: Any = _binary("shl")
shift_down: Any = _binary("lshr")
multiply_high: Any = operation(words, (words, words), _build_high)
"""The upper halves of products of 32 bits."""
below: Any = operation(mask, (words, words), lambda b, v: b.icmp_unsigned("<", *v))
equal: Any = operation(mask, (words, words), lambda b, v: b.icmp_unsigned("==", *v))
without: Any = operation(mask, (mask, mask), lambda b, v: b.and_(v[0], b.not_(v[1])))
"""The lanes of a mask that another one lacks."""
choose: Any = operation(words, (mask, words, words), lambda b, v: b.select(*v))
"""``choose(mask, a, b)``: a where the mask is set, else b."""
splat: Any = operation(words, (types.uint16,), _build_splat)
count: Any = operation(types.int64, (mask,), _build_count)
"""How many lanes of a mask are set."""
lookup: Any = operation(words, (words, words, words), _build_lookup)
"""``lookup(a, indexes, b)``: words of a table of 64, a then b; of an index the lower six bits."""
squeeze: Any = operation(words, (words, mask), _build_squeeze)
"""The words of the set lanes together at the start."""
quotient: Any = operation(vector, (vector, vector), _build_quotient)
"""Of numbers of 32 bits, in single precision; at most one off if below 2^22."""
as_pairs: Any = operation(vector, (words,), lambda b, v: b.bitcast(v[0], _PAIRS))
"""Neighbouring words as numbers of 32 bits."""
as_words: Any = operation(words, (vector,), lambda b, v: b.bitcast(v[0], _WORDS))
zip_lower: Any = _zipped(0)
"""``zip_lower(a, b)``: the first half of the words of each, in turn."""
zip_upper: Any = _zipped(LANES // 2)
"""As ``zip_lower``, of the second half."""


def _read(builder: Any, at: Any, element: Any) -> Any:
    pointer = builder.bitcast(at, ir.VectorType(element, LANES).as_pointer())
    return builder.load(pointer, align=1)


def _build_store(builder: Any, at: Any, _array: Any, value: Any) -> None:
    builder.store(value, builder.bitcast(at, _WORDS.as_pointer()), align=1)


def _build_store_first(builder: Any, at: Any, _array: Any, value: Any, many: Any) -> None:
    ones = builder.sub(builder.shl(_I64(1), many), _I64(1))
    chosen = builder.bitcast(builder.trunc(ones, _I32), _BITS)
    pointer = _WORDS.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [_WORDS, pointer, _I32, _BITS])
    name = "llvm.masked.store.v32i16.p0"
    call = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(call, [value, builder.bitcast(at, pointer), _I32(1), chosen])


def _build_spread(builder: Any, at: Any, _array: Any, chosen: Any) -> Any:
    name = "llvm.x86.avx512.mask.expand.v32i16"
    values = [_read(builder, at, _I16), ir.Constant(_WORDS, [0] * LANES), chosen]
    return _call(builder, name, [_WORDS, _WORDS, _BITS], values)


load: Any = array_operation(words, (), lambda b, at, _array: _read(b, at, _I16))
"""``load(array, index)``: thirty-two words from a place in an array of words or bytes."""
load_bytes: Any = array_operation(
    words, (), lambda b, at, _array: b.zext(_read(b, at, _I8), _WORDS)
)
"""``load_bytes(array, index)``: thirty-two bytes of an array of them."""
load_signed_bytes: Any = array_operation(
    words, (), lambda b, at, _array: b.sext(_read(b, at, _I8), _WORDS)
)
"""As ``load_bytes``, each with its top bit repeated in the upper half."""
store: Any = array_operation(types.void, (words,), _build_store)
"""``store(array, index, values)``: thirty-two words to a place in an array of words or bytes."""
store_first: Any = array_operation(types.void, (words, types.int64), _build_store_first)
"""``store_first(array, index, values, count)``: no more than the first words."""
spread: Any = array_operation(words, (mask,), _build_spread)
"""``spread(array, index, mask)``: consecutive words in the set lanes, others zero.

Thirty-two words from ``index`` on must be readable."""
