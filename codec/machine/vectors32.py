"""Sixteen unsigned 32-bit integers as one Numba value, and what kernels do with them.

Numba has no vector types; here LLVM's own are made known to it, with one function for each
operation. Most are plain LLVM and compile for any processor (one register of AVX-512, two of
AVX2). The two ``spread`` functions name instructions of the set that
``codec.machine.instructions`` found. Nothing is checked: indexes must lie within their arrays.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model
from numba.np import arrayobj

from codec.machine.instructions import instruction_set

LANES: Final = 16
_NATIVE: Final = 16 if instruction_set() == "avx512" else 8

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_WORDS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class VectorType(types.Type):
    """A Numba type with an LLVM vector for its value."""

    def __init__(self, name: str, value: ir.VectorType) -> None:
        super().__init__(name=name)
        self.value = value


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, kind.value)


vector: Final = VectorType("u32x16", _WORDS)
mask: Final = VectorType("bool16", _BITS)

_Build = Callable[[Any, list[Any]], Any]


def operation(result: Any, arguments: tuple[Any, ...], build: _Build) -> Any:
    """An intrinsic of vectors and scalars from a function that writes its LLVM."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return build(builder, values)

    signature = result(*arguments)
    if len(arguments) == 1:
        return intrinsic(lambda _typing, _a: (signature, generate))
    if len(arguments) == 2:
        return intrinsic(lambda _typing, _a, _b: (signature, generate))
    return intrinsic(lambda _typing, _a, _b, _c: (signature, generate))


def _binary(name: str) -> Any:
    return operation(vector, (vector, vector), lambda b, v: getattr(b, name)(*v))


add: Any = _binary("add")
subtract: Any = _binary("sub")
multiply: Any = _binary("mul")
both: Any = _binary("and_")
either: Any = _binary("or_")
differ: Any = _binary("xor")
shift_up: Any = _binary("shl")
shift_down: Any = _binary("lshr")
below: Any = operation(mask, (vector, vector), lambda b, v: b.icmp_unsigned("<", *v))
beyond: Any = operation(mask, (vector, vector), lambda b, v: b.icmp_unsigned(">", *v))
signed_below: Any = operation(mask, (vector, vector), lambda b, v: b.icmp_signed("<", *v))
choose: Any = operation(vector, (mask, vector, vector), lambda b, v: b.select(*v))
"""``choose(mask, a, b)``: a where the mask is set, else b."""


def _floats(name: str) -> Any:
    """An operation on lanes that are the bits of floats of 32 bits, rounded to nearest even."""

    def build(builder: Any, values: list[Any]) -> Any:
        made = getattr(builder, name)(*(builder.bitcast(each, _FLOATS) for each in values))
        return builder.bitcast(made, _WORDS)

    return operation(vector, (vector, vector), build)


add_floats: Any = _floats("fadd")
subtract_floats: Any = _floats("fsub")
multiply_floats: Any = _floats("fmul")
to_floats: Any = operation(
    vector, (vector,), lambda b, v: b.bitcast(b.sitofp(v[0], _FLOATS), _WORDS)
)
"""Of signed integers, rounded to nearest even."""


def _build_splat(builder: Any, values: list[Any]) -> Any:
    first = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), values[0], _I32(0))
    lanes = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, first, lanes)


def _build_count(builder: Any, values: list[Any]) -> Any:
    return builder.zext(builder.ctpop(builder.bitcast(values[0], _I16)), _I64)


splat: Any = operation(vector, (types.uint32,), _build_splat)
count: Any = operation(types.int64, (mask,), _build_count)
"""How many lanes of a mask are set."""


def _build_dot(builder: Any, values: list[Any]) -> Any:
    """Products of 16-bit lanes, added in twos: every processor has an instruction for that."""
    pairs = ir.VectorType(_I16, 2 * LANES)
    wide = ir.VectorType(_I32, 2 * LANES)
    products = builder.mul(*(builder.sext(builder.bitcast(v, pairs), wide) for v in values))
    halves = [
        builder.shuffle_vector(
            products,
            ir.Constant(wide, ir.Undefined),
            ir.Constant(_WORDS, list(range(first, 2 * LANES, 2))),
        )
        for first in (0, 1)
    ]
    return builder.add(*halves)


dot: Any = operation(vector, (vector, vector), _build_dot)
"""Of lanes that hold two signed numbers of 16 bits each: the sum of their two products."""


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    if isinstance(array_type, types.CPointer):
        return builder.gep(array, [index])
    data = arrayobj.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def array_operation(result: Any, extra: tuple[Any, ...], build: Callable[..., Any]) -> Any:
    """An intrinsic of an array or pointer, an index into it, and perhaps vectors or masks."""

    def typed(array: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            at = _address(context, builder, array, values[0], values[1])
            made = build(builder, at, array, *values[2:])
            return context.get_dummy_value() if result is types.void else made

        return result(array, types.int64, *extra), generate

    if len(extra) == 2:
        return intrinsic(lambda _typing, array, _index, _extra, _other: typed(array))
    if extra:
        return intrinsic(lambda _typing, array, _index, _extra: typed(array))
    return intrinsic(lambda _typing, array, _index: typed(array))


def _pointer_to(_typing: Any, array: Any, _index: Any) -> Any:

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _address(context, builder, array, *values)

    return types.CPointer(array.dtype)(array, types.int64), generate


pointer_to: Any = intrinsic(_pointer_to)
"""``pointer_to(array, index)``: an element, and those behind it.

Unlike an array a pointer is not counted by whoever holds it, which costs inner loops dearly.
"""


def _lanes_type(array: Any, lanes: int = LANES) -> ir.VectorType:
    return ir.VectorType(ir.IntType(array.dtype.bitwidth), lanes)


def _read(builder: Any, at: Any, array: Any, lanes: int) -> Any:
    """Consecutive elements, widened to 32 bits."""
    kind = _lanes_type(array, lanes)
    loaded = builder.load(builder.bitcast(at, kind.as_pointer()), align=1)
    wide = ir.VectorType(_I32, lanes)
    return loaded if kind == wide else builder.zext(loaded, wide)


def _build_store(builder: Any, at: Any, array: Any, value: Any) -> None:
    kind = _lanes_type(array)
    narrow = value if kind == _WORDS else builder.trunc(value, kind)
    builder.store(narrow, builder.bitcast(at, kind.as_pointer()), align=1)


def _joined(builder: Any, halves: list[Any]) -> Any:
    return builder.shuffle_vector(*halves, ir.Constant(_WORDS, list(range(LANES))))


def _build_spread(builder: Any, at: Any, array: Any, chosen: Any) -> Any:
    if _NATIVE == LANES:
        kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS, _BITS])
        name = "llvm.x86.avx512.mask.expand.v16i32"
        call = cgutils.get_or_insert_function(builder.module, kind, name)
        none = ir.Constant(_WORDS, [0] * LANES)
        return builder.call(call, [_read(builder, at, array, LANES), none, chosen])
    bits = builder.bitcast(chosen, _I16)
    low, high = builder.trunc(bits, _I8), builder.trunc(builder.lshr(bits, _I16(8)), _I8)
    onward = builder.gep(at, [builder.zext(builder.ctpop(low), _I64)])
    return _joined(
        builder,
        [_spread8(builder, at, array, low), _spread8(builder, onward, array, high)],
    )


def _spread8(builder: Any, at: Any, array: Any, bits: Any) -> Any:
    """Eight lanes, by a table of which element each takes for each mask."""
    half = ir.VectorType(_I32, 8)
    table = _ranks(builder.module)
    row = builder.gep(table, [_I32(0), builder.zext(bits, _I64)])
    ranks = builder.zext(builder.load(row, align=8), half)
    kind = ir.FunctionType(half, [half, half])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.permd")
    return builder.call(call, [_read(builder, at, array, 8), ranks])


def constant_rows(module: Any, name: str, rows: list[list[int]]) -> Any:
    """A table of bytes in the code, made once for each module; as many in every row, 8 or 16."""
    if name in module.globals:
        return module.globals[name]
    row = ir.VectorType(_I8, len(rows[0]))
    kind = ir.ArrayType(row, len(rows))
    table: Any = ir.GlobalVariable(module, kind, name)
    table.global_constant, table.linkage, table.align = True, "internal", len(rows[0])
    table.initializer = ir.Constant(kind, [ir.Constant(row, bytes_) for bytes_ in rows])
    return table


def _ranks(module: Any) -> Any:
    """For every mask of eight lanes: how many lanes below each are set."""
    rows = [[(bits & ((1 << lane) - 1)).bit_count() for lane in range(8)] for bits in range(256)]
    return constant_rows(module, "clade.ranks", rows)


load: Any = array_operation(vector, (), lambda builder, at, array: _read(builder, at, array, LANES))
"""``load(array, index)``: sixteen elements of 8, 16 or 32 bits."""
store: Any = array_operation(types.void, (vector,), _build_store)
"""``store(array, index, values)``: the low bits of each lane."""


def _build_prefetch(builder: Any, at: Any, _array: Any) -> None:
    byte = _I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(call, [builder.bitcast(at, byte), _I32(0), _I32(3), _I32(1)])


prefetch: Any = array_operation(types.void, (), _build_prefetch)
"""``prefetch(array, index)``: have the cache line of an element near."""
spread: Any = array_operation(vector, (mask,), _build_spread)
"""``spread(array, index, mask)``: consecutive elements in the set lanes, others undefined.

Sixteen elements from ``index`` on must be readable."""


def _build_spread_pairs(builder: Any, at: Any, _array: Any, chosen: Any) -> Any:
    if _NATIVE == LANES:
        pairs = types.Array(types.uint16, 1, "C")
        return _build_spread(builder, builder.bitcast(at, _I16.as_pointer()), pairs, chosen)
    bits = builder.bitcast(chosen, _I16)
    bytes_, pairs = ir.VectorType(_I8, 16), ir.VectorType(_I16, 8)
    kind = ir.FunctionType(bytes_, [bytes_, bytes_])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.ssse3.pshuf.b.128")
    halves = []
    for first in (0, 8):
        eight = builder.trunc(builder.lshr(bits, _I16(first)), _I8)
        row = builder.gep(_pair_ranks(builder.module), [_I32(0), builder.zext(eight, _I64)])
        loaded = builder.load(builder.bitcast(at, bytes_.as_pointer()), align=1)
        taken = builder.call(call, [loaded, builder.load(row, align=16)])
        halves.append(builder.zext(builder.bitcast(taken, pairs), ir.VectorType(_I32, 8)))
        at = builder.gep(at, [builder.shl(builder.zext(builder.ctpop(eight), _I64), _I64(1))])
    return _joined(builder, halves)


def _pair_ranks(module: Any) -> Any:
    """For every mask of eight lanes: which two bytes each set lane takes, else zeros."""
    rows = []
    for bits in range(256):
        ranks = [(bits & ((1 << lane) - 1)).bit_count() for lane in range(8)]
        taken = [2 * rank if bits >> lane & 1 else 128 for lane, rank in enumerate(ranks)]
        rows.append([byte for first in taken for byte in (first, first | 1)])
    return constant_rows(module, "clade.pair_ranks", rows)


spread_pairs: Any = array_operation(vector, (mask,), _build_spread_pairs)
"""As ``spread``, of pairs of the bytes of an array: little-endian words at any place.

Lanes that are not set become zero."""


def _build_aligned_stack(builder: Any, _values: list[Any]) -> Any:
    place = cgutils.alloca_once(builder, _WORDS)
    place.align = 64
    used = ir.InlineAsm(ir.FunctionType(ir.VoidType(), [place.type]), "", "r", side_effect=True)
    builder.call(used, [place])
    return _I64(0)


align_stack: Any = operation(types.int64, (types.int64,), _build_aligned_stack)
"""Keep what registers are short for in whole cache lines: a function that calls this once does.

Numba's functions have a stack of 16 bytes' alignment, on which every other register of 32 bytes
that is put aside lies in two lines. Argument and result mean nothing.
"""
