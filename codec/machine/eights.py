"""Eight unsigned 16-bit integers as one Numba value: a register wherever there are any.

As ``codec.machine.vectors32``, in LLVM that names no instruction, so for every processor; what is
asked for is what the oldest have (SSE2). Nothing is checked: indexes must lie within their arrays.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types

from codec.machine.vectors32 import VectorType, array_operation, constant_rows, operation

LANES: Final = 8

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_WORDS, _WIDE = ir.VectorType(_I16, LANES), ir.VectorType(_I32, LANES)
_FOUR = ir.VectorType(_I16, 4)
_NONE: Any = ir.Constant(_WORDS, [0] * LANES)
_EIGHTS: Any = ir.Constant(_WORDS, [8] * LANES)

words: Final = VectorType("u16x8", _WORDS)
pointer: Final = types.CPointer(types.uint16)


def _lanes(order: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(order)), order)


def _binary(name: str) -> Any:
    return operation(words, (words, words), lambda b, v: getattr(b, name)(*v))


def _build_splat(builder: Any, values: list[Any]) -> Any:
    first = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), values[0], _I32(0))
    return builder.shuffle_vector(first, first, _lanes([0] * LANES))


def _build_high(builder: Any, values: list[Any]) -> Any:
    product = builder.mul(*(builder.zext(value, _WIDE) for value in values))
    return builder.trunc(builder.lshr(product, ir.Constant(_WIDE, [16] * LANES)), _WORDS)


def _called(name: str) -> Any:
    """An operation for which LLVM has a function on every processor."""

    def build(builder: Any, values: list[Any]) -> Any:
        kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS])
        call = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v8i16")
        return builder.call(call, values)

    return operation(words, (words, words), build)


def _compared(sign: str) -> Any:
    return operation(words, (words, words), lambda b, v: b.sext(b.icmp_unsigned(sign, *v), _WORDS))


add: Any = _binary("add")
subtract: Any = _binary("sub")
multiply: Any = _binary("mul")
both: Any = _binary("and_")
either: Any = _binary("or_")
differ: Any = _binary("xor")
shift_up: Any = _binary("shl")
shift_down: Any = _binary("lshr")
swap_bytes: Any = operation(
    words, (words,), lambda b, v: b.or_(b.shl(v[0], _EIGHTS), b.lshr(v[0], _EIGHTS))
)
"""The two bytes of each word change places."""
repeat_top: Any = operation(
    words, (words,), lambda b, v: b.ashr(v[0], ir.Constant(_WORDS, [15] * LANES))
)
"""The top bit of each word in all its bits."""
add_capped: Any = _called("uadd.sat")
"""Sums, 65,535 where they would be more."""
subtract_floored: Any = _called("usub.sat")
"""Differences, zero where they would be less."""
smaller: Any = operation(words, (words, words), lambda b, v: b.select(b.icmp_unsigned("<", *v), *v))
splat: Any = operation(words, (types.uint16,), _build_splat)
multiply_high: Any = operation(words, (words, words), _build_high)
"""The upper halves of products of 32 bits."""
choose: Any = operation(
    words,
    (words, words, words),
    lambda b, v: b.xor(v[2], b.and_(b.xor(v[1], v[2]), v[0])),
)
"""``choose(bits, a, b)``: the bits of a where they are set, else those of b."""
below: Any = _compared("<")
"""All bits of the lanes where the first is less, none elsewhere."""
equal: Any = _compared("==")
"""All bits of the lanes where both are the same, none elsewhere."""
is_any: Any = operation(
    types.boolean,
    (words,),
    lambda b, v: b.icmp_unsigned("!=", b.bitcast(b.icmp_unsigned("!=", v[0], _NONE), _I8), _I8(0)),
)
"""Whether a lane is not zero."""


def stack_of(count: int) -> Any:
    """An intrinsic that makes room for so many words, once for each function; its argument is none.

    A pointer, which unlike an array is not counted by whoever holds it.
    """

    def build(builder: Any, _values: list[Any]) -> Any:
        return cgutils.alloca_once(builder, _I16, size=count)

    return operation(pointer, (types.int64,), build)


def _read(builder: Any, at: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(at, kind.as_pointer()), align=1)


def _build_store(builder: Any, at: Any, _array: Any, value: Any) -> None:
    builder.store(value, builder.bitcast(at, _WORDS.as_pointer()), align=1)


load: Any = array_operation(words, (), lambda b, at, _array: _read(b, at, _WORDS))
"""``load(array, index)``: eight words from a place in an array of words or bytes."""
store: Any = array_operation(types.void, (words,), _build_store)
"""``store(array, index, values)``: eight words to a place in an array of words or bytes."""


def _zipped(builder: Any, pair: Any, first: int, width: int) -> Any:
    """From lane ``first`` on, runs of ``width`` lanes of one vector and another in turn."""
    runs = range(first, first + LANES // 2, width)
    order = [lane for k in runs for start in (k, LANES + k) for lane in range(start, start + width)]
    return builder.shuffle_vector(*pair, _lanes(order))


def _build_pick(builder: Any, at: Any, _array: Any, places: Any) -> Any:
    entries = builder.bitcast(at, _FOUR.as_pointer())
    padding = ir.Constant(_FOUR, ir.Undefined)
    rows = []
    for lane in range(LANES):
        place = builder.zext(builder.extract_element(places, _I32(lane)), _I64)
        entry = builder.load(builder.gep(entries, [place]), align=8)
        rows.append(builder.shuffle_vector(entry, padding, _lanes(list(range(LANES)))))
    pairs = [_zipped(builder, rows[k : k + 2], 0, 1) for k in range(0, LANES, 2)]
    early = [_zipped(builder, pairs[k : k + 2], 0, 2) for k in (0, 2)]
    late = [_zipped(builder, pairs[k : k + 2], 4, 2) for k in (0, 2)]
    parts = _zipped(builder, early, 0, 4), _zipped(builder, early, 4, 4)
    return cgutils.pack_array(builder, [*parts, _zipped(builder, late, 0, 4)])


pick: Any = array_operation(types.UniTuple(words, 3), (words,), _build_pick)
"""``pick(array, index, places)``: of elements of four words each, the first, second and third."""


def _spread(element: Any) -> Any:
    """Consecutive elements as words in chosen lanes: up by two lanes, then one, if need be."""
    in_order = _lanes(list(range(LANES)))
    pairs = ir.VectorType(_I64, 2)

    def build(builder: Any, at: Any, _array: Any, chosen: Any) -> Any:
        start = at = builder.bitcast(at, element.as_pointer())
        eight = builder.zext(builder.bitcast(builder.icmp_signed("<", chosen, _NONE), _I8), _I64)
        halves, moves = [], []
        for nibble in (builder.and_(eight, _I64(15)), builder.lshr(eight, _I64(4))):
            four = _read(builder, at, ir.VectorType(element, 4))
            halves.append(four if element == _I16 else builder.zext(four, _FOUR))
            row = builder.gep(_moves(builder.module), [_I32(0), nibble])
            row = builder.bitcast(row, _FOUR.as_pointer())
            moves.append([builder.load(builder.gep(row, [_I32(k)]), align=8) for k in (0, 1)])
            count = builder.gep(_counts(builder.module), [_I32(0), nibble])
            count = builder.bitcast(count, _I64.as_pointer())
            at = builder.gep(at, [builder.load(count, align=8)])
        spread = builder.shuffle_vector(*halves, in_order)
        for step, distance in enumerate((32, 16)):
            moved = builder.shuffle_vector(moves[0][step], moves[1][step], in_order)
            onward = builder.shl(builder.bitcast(spread, pairs), ir.Constant(pairs, [distance] * 2))
            change = builder.xor(spread, builder.bitcast(onward, _WORDS))
            spread = builder.xor(spread, builder.and_(change, moved))
        taken = builder.sub(builder.ptrtoint(at, _I64), builder.ptrtoint(start, _I64))
        return cgutils.pack_struct(builder, [spread, taken])

    return array_operation(types.Tuple((words, types.int64)), (words,), build)


def _moves(module: Any) -> Any:
    """For every mask of four lanes: to which of them words come that go up two, then one."""
    rows = []
    for bits in range(16):
        lanes = [lane for lane in range(4) if bits >> lane & 1]
        by_two = {rank + 2 for rank, lane in enumerate(lanes) if (lane - rank) & 2}
        by_one = {lane for rank, lane in enumerate(lanes) if (lane - rank) & 1}
        moved = [255 * (lane in those) for those in (by_two, by_one) for lane in range(4)]
        rows.append([byte for each in moved for byte in (each, each)])
    return constant_rows(module, "clade.moves", rows)


def _counts(module: Any) -> Any:
    """For every mask of four lanes: how many are set."""
    rows = [[bits.bit_count(), *[0] * 7] for bits in range(16)]
    return constant_rows(module, "clade.counts", rows)


spread: Any = _spread(_I16)
"""``spread(array, index, chosen)``: consecutive little-endian words of an array of bytes in the
lanes that have all bits, whatever there is in others; and how many bytes they took.

Sixteen bytes from ``index`` on must be readable."""
spread_bytes: Any = _spread(_I8)
"""As ``spread``, of bytes, which become words; eight must be readable."""
