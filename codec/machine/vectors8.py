"""Thirty-two bytes, or half as many 16-bit integers, as one Numba value, for AVX2.

As ``codec.machine.vectors32``, with the instructions that look bytes up in registers. AVX2 packs
the two halves of its registers each on its own: ``pack`` and the two ``unpack`` undo each other,
and nothing may depend on where bytes lie in between. Nothing is checked: indexes must lie within
their arrays.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types

from codec.machine.vectors32 import VectorType, array_operation, operation

LANES: Final = 16
"""Words; of bytes there are twice as many."""

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_WORDS, _BYTES = ir.VectorType(_I16, LANES), ir.VectorType(_I8, 2 * LANES)
_OCTET, _BITS = ir.VectorType(_I16, LANES // 2), ir.VectorType(_I1, LANES)

words: Final = VectorType("u16x16", _WORDS)
octets: Final = VectorType("u8x32", _BYTES)
mask: Final = VectorType("bool16w", _BITS)
byte_mask: Final = VectorType("bool32b", ir.VectorType(_I1, 2 * LANES))


def _call(builder: Any, name: str, result: Any, values: list[Any]) -> Any:
    """An instruction that LLVM has a name for."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def _lanes(order: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(order)), order)


def _binary(kind: Any, name: str) -> Any:
    return operation(kind, (kind, kind), lambda b, v: getattr(b, name)(*v))


def _splat(kind: VectorType, scalar: Any, lanes: int) -> Any:
    def build(builder: Any, values: list[Any]) -> Any:
        first = builder.insert_element(ir.Constant(kind.value, ir.Undefined), values[0], _I32(0))
        return builder.shuffle_vector(first, first, _lanes([0] * lanes))

    return operation(kind, (scalar,), build)


def _build_capped(builder: Any, values: list[Any]) -> Any:
    return _call(builder, "llvm.uadd.sat.v32i8", _BYTES, values)


def _build_lookup(builder: Any, values: list[Any]) -> Any:
    return _call(builder, "llvm.x86.avx2.pshuf.b", _BYTES, values)


def _build_high(builder: Any, values: list[Any]) -> Any:
    return _call(builder, "llvm.x86.avx2.pmulhu.w", _WORDS, values)


def _build_pack(builder: Any, values: list[Any]) -> Any:
    return _call(builder, "llvm.x86.avx2.packuswb", _BYTES, values)


def _unpacked(first: int) -> Any:
    half = [lane for k in range(first, first + 8) for lane in (k, 2 * LANES + k)]
    order = _lanes(half + [lane + 16 for lane in half])
    return operation(
        words, (octets, octets), lambda b, v: b.bitcast(b.shuffle_vector(*v, order), _WORDS)
    )


def _zipped(first: int) -> Any:
    order = _lanes([lane for k in range(first, first + 8) for lane in (k, LANES + k)])
    return operation(words, (words, words), lambda b, v: b.shuffle_vector(*v, order))


add: Any = _binary(words, "add")
multiply: Any = _binary(words, "mul")
both: Any = _binary(words, "and_")
either: Any = _binary(words, "or_")
shift_up: Any = _binary(words, "shl")
shift_down: Any = _binary(words, "lshr")
multiply_high: Any = operation(words, (words, words), _build_high)
"""The upper halves of products of 32 bits."""
below: Any = operation(mask, (words, words), lambda b, v: b.icmp_unsigned("<", *v))
equal: Any = operation(mask, (words, words), lambda b, v: b.icmp_unsigned("==", *v))
choose: Any = operation(words, (mask, words, words), lambda b, v: b.select(*v))
"""``choose(mask, a, b)``: a where the mask is set, else b."""
splat: Any = _splat(words, types.uint16, LANES)
zip_lower: Any = _zipped(0)
"""``zip_lower(a, b)``: the first half of the words of each, in turn."""
zip_upper: Any = _zipped(LANES // 2)
"""As ``zip_lower``, of the second half."""

either_bytes: Any = _binary(octets, "or_")
differ_bytes: Any = _binary(octets, "xor")
add_capped: Any = operation(octets, (octets, octets), _build_capped)
"""Sums of bytes, 255 if beyond."""
below_bytes: Any = operation(byte_mask, (octets, octets), lambda b, v: b.icmp_signed("<", *v))
"""Of bytes below 128."""
choose_bytes: Any = operation(octets, (byte_mask, octets, octets), lambda b, v: b.select(*v))
splat_bytes: Any = _splat(octets, types.uint8, 2 * LANES)
look_up: Any = operation(octets, (octets, octets), _build_lookup)
"""``look_up(table, indexes)``: bytes of a table of 16 that stands in both halves; 0 for an index
from 128 on, of others the lower four bits."""

pack: Any = operation(octets, (words, words), _build_pack)
"""Words below 256 of two vectors as bytes, in an order of its own."""
unpack_first: Any = _unpacked(0)
"""``unpack_first(lower, upper)``: words of packed bytes, those of the first vector packed."""
unpack_second: Any = _unpacked(8)
"""As ``unpack_first``, of the second vector."""


def _read(builder: Any, at: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(at, kind.as_pointer()), align=1)


def _build_load_twice(builder: Any, at: Any, _array: Any) -> Any:
    half = _read(builder, at, ir.VectorType(_I8, 16))
    return builder.shuffle_vector(half, half, _lanes(2 * list(range(16))))


def _build_load_bytes(builder: Any, at: Any, _array: Any) -> Any:
    return builder.zext(_read(builder, at, ir.VectorType(_I8, LANES)), _WORDS)


def _build_load_signed(builder: Any, at: Any, _array: Any) -> Any:
    return builder.sext(_read(builder, at, ir.VectorType(_I8, LANES)), _WORDS)


def _build_store(builder: Any, at: Any, _array: Any, value: Any) -> None:
    builder.store(value, builder.bitcast(at, _WORDS.as_pointer()), align=1)


def _build_spread(builder: Any, at: Any, _array: Any, chosen: Any) -> Any:
    bits = builder.bitcast(chosen, _I16)
    low, high = builder.trunc(bits, _I8), builder.trunc(builder.lshr(bits, _I16(8)), _I8)
    taken = builder.zext(builder.ctpop(low), _I64)
    onward = builder.gep(at, [builder.shl(taken, _I64(1))])
    halves = _spread8(builder, at, low), _spread8(builder, onward, high)
    return builder.shuffle_vector(*halves, _lanes(list(range(LANES))))


def _spread8(builder: Any, at: Any, bits: Any) -> Any:
    """Eight lanes, by a table of which bytes each takes for each mask."""
    row = builder.gep(_ranks(builder.module), [_I32(0), builder.zext(bits, _I64)])
    half = ir.VectorType(_I8, 16)
    values = [_read(builder, at, half), builder.load(row, align=16)]
    return builder.bitcast(_call(builder, "llvm.x86.ssse3.pshuf.b.128", half, values), _OCTET)


def _ranks(module: Any) -> Any:
    """For every mask of eight words: the two bytes of as many words as lanes below each are set."""
    name = "clade.word_ranks"
    if name in module.globals:
        return module.globals[name]
    row = ir.VectorType(_I8, 16)
    ranks = [[(bits & ((1 << lane) - 1)).bit_count() for lane in range(8)] for bits in range(256)]
    rows = [ir.Constant(row, [2 * rank + k for rank in each for k in (0, 1)]) for each in ranks]
    kind = ir.ArrayType(row, 256)
    table: Any = ir.GlobalVariable(module, kind, name)
    table.global_constant, table.linkage, table.align = True, "internal", 16
    table.initializer = ir.Constant(kind, rows)
    return table


def _build_count(builder: Any, values: list[Any]) -> Any:
    return builder.zext(builder.ctpop(builder.bitcast(values[0], _I16)), _I64)


count: Any = operation(types.int64, (mask,), _build_count)
"""How many lanes of a mask are set."""
load: Any = array_operation(words, (), lambda b, at, _array: _read(b, at, _WORDS))
"""``load(array, index)``: sixteen words from a place in an array of words or bytes."""
load_twice: Any = array_operation(octets, (), _build_load_twice)
"""``load_twice(array, index)``: sixteen bytes, in both halves."""
load_bytes: Any = array_operation(words, (), _build_load_bytes)
"""``load_bytes(array, index)``: sixteen bytes of an array of them, as words."""
load_signed_bytes: Any = array_operation(words, (), _build_load_signed)
"""As ``load_bytes``, each with its top bit repeated in the upper half."""
store: Any = array_operation(types.void, (words,), _build_store)
"""``store(array, index, values)``: sixteen words to a place in an array of words or bytes."""
spread: Any = array_operation(words, (mask,), _build_spread)
"""``spread(array, index, mask)``: consecutive words in the set lanes, others undefined.

Sixteen words from ``index`` on must be readable."""
