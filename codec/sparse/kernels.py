"""Compiled loops of SPARSE, by word width: where a target leaves its base, and putting it back.

The *class* of a word of the base is the number of ``limits`` that its magnitude (the word without
its top bit) reaches; a *rank* counts the words of a class. Groups of 64 words are compared as one
vector of LLVM, whatever the processor makes of it; all other work grows with the number of changes.
Kernels trust the lengths of what they are given, and nothing inside it.
``tests/codec/sparse/naive.py`` says in plain Python what each means.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codec.machine.compiling import njit

GROUP: Final = 64
"""Words that are compared, and counted, at a time."""

_U64 = np.uint64

_TYPES = (types.uint8, types.uint16, types.uint32, types.uint64)
_inputs = [types.Array(kind, 1, "C", readonly=True) for kind in _TYPES]
_outputs = [types.Array(kind, 1, "C") for kind in _TYPES]
_u8, _, _u32, _u64 = _outputs
_in8, _, _in32, _in64 = _inputs
_i64, _ini64 = (types.Array(types.int64, 1, "C", readonly=kept) for kept in (False, True))
_compiled: dict[str, Any] = {"nogil": True, "cache": True}
_ONE = _U64(1)


def _generate_count(_typing_context: Any, _word: Any) -> tuple[Any, Any]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _generate_lowest(_typing_context: Any, _word: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.int64(types.uint64), generate


_count: Any = intrinsic(_generate_count)
"""How many bits are set."""
_lowest: Any = intrinsic(_generate_lowest)
"""Place of the lowest bit that is set."""


@njit(inline="always")
def _number(word: Any, below: Any, bits: int, fold: Any) -> Any:
    """Zigzag of the difference of two unequal words, less one; see ``sparse.fold_of``."""
    top = _U64(bits - 1)
    full = _U64(0xFFFFFFFFFFFFFFFF) >> _U64(64 - bits)
    here = _U64(word) ^ (fold if _U64(word) >> top else _U64(0))
    there = _U64(below) ^ (fold if _U64(below) >> top else _U64(0))
    step = (here - there) & full
    if step >> top:
        return (((~step) << _U64(1)) & full) | _U64(0)
    return (step << _U64(1)) - _U64(1)


@njit(inline="always")
def _changed(number: Any, below: Any, bits: int, fold: Any) -> Any:
    """The word that differs from ``below`` by what :func:`_number` made a number."""
    top = _U64(bits - 1)
    full = _U64(0xFFFFFFFFFFFFFFFF) >> _U64(64 - bits)
    zigzag = (number + _U64(1)) & full
    step = zigzag >> _U64(1)
    if zigzag & _U64(1):
        step = ~step
    there = _U64(below) ^ (fold if _U64(below) >> top else _U64(0))
    place = (there + step) & full
    return place ^ (fold if place >> top else _U64(0))


def _lanes(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """GROUP words of an array as one vector, from anywhere in memory."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), GROUP)
    first = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return builder.load(first, align=1)


def _all_lanes(builder: Any, word: Any) -> Any:
    one = ir.Constant(ir.VectorType(word.type, GROUP), ir.Undefined)
    zero = ir.Constant(ir.IntType(32), 0)
    same = ir.Constant(ir.VectorType(ir.IntType(32), GROUP), [0] * GROUP)
    return builder.shuffle_vector(builder.insert_element(one, word, zero), one, same)


def _generate_unequal(_typing_context: Any, target: Any, base: Any, _start: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        here, there = (
            _lanes(context, builder, signature.args[k], arguments[k], arguments[2]) for k in (0, 1)
        )
        return builder.bitcast(builder.icmp_unsigned("!=", here, there), ir.IntType(64))

    return types.uint64(target, base, types.int64), generate


def _generate_reaching(
    _typing_context: Any, words: Any, _start: Any, _limit: Any
) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _lanes(context, builder, signature.args[0], arguments[0], arguments[1])
        width = lanes.type.element.width
        magnitude = ir.Constant(lanes.type, [(1 << (width - 1)) - 1] * GROUP)
        limit = arguments[2]
        if width < 64:
            limit = builder.trunc(limit, lanes.type.element)
        least = _all_lanes(builder, limit)
        reach = builder.icmp_unsigned(">=", builder.and_(lanes, magnitude), least)
        return builder.bitcast(reach, ir.IntType(64))

    return types.uint64(words, types.int64, types.uint64), generate


_unequal: Any = intrinsic(_generate_unequal)
"""A bit for each of the GROUP words from a place on that differ; all must be there."""
_reaching: Any = intrinsic(_generate_reaching)
"""A bit for each of the GROUP words from a place on whose magnitude reaches a limit."""


@njit(inline="always")
def _difference_mask(target: Any, base: Any, start: int) -> Any:
    """A bit for every word of a group that differs."""
    if start + GROUP <= target.size:
        return _unequal(target, base, start)
    mask = _U64(0)
    for i in range(start, target.size):
        mask |= _U64(target[i] != base[i]) << _U64(i - start)
    return mask


@njit(inline="always")
def _reach_mask(words: Any, limit: Any, start: int) -> Any:
    """A bit for every word of a group whose magnitude reaches a limit."""
    if start + GROUP <= words.size:
        return _reaching(words, start, limit)
    magnitude = (_ONE << _U64(8 * words.itemsize - 1)) - _ONE
    mask = _U64(0)
    for i in range(start, words.size):
        mask |= _U64((_U64(words[i]) & magnitude) >= limit) << _U64(i - start)
    return mask


@njit([types.void(word, word, types.int64, _i64) for word in _inputs], **_compiled)
def survey(target: Any, base: Any, shift: int, changed: Any) -> None:
    """Add the changed words to ``changed``, by the magnitude of their base shifted down."""
    magnitude = (_ONE << _U64(8 * target.itemsize - 1)) - _ONE
    for start in range(0, target.size, GROUP):
        left = _difference_mask(target, base, start)
        while left:
            below = _U64(base[start + _lowest(left)])
            changed[(below & magnitude) >> _U64(shift)] += 1
            left &= left - _ONE


@njit(
    [types.void(word, word, _in64, _in8, types.uint64, _i64, _u32, _u64) for word in _inputs],
    **_compiled,
)
def collect(
    target: Any,
    base: Any,
    limits: Any,
    reached: Any,
    fold: Any,
    cursors: Any,
    gaps: Any,
    numbers: Any,
) -> None:
    """Write gap and number of every change to the region of its class; only count behind the room.

    ``cursors`` are the beginnings of the regions and then their ends; ``reached`` is what
    :func:`class_sizes` says.
    """
    bits, classes, writes = 8 * target.itemsize, limits.size + 1, gaps.size > 0
    groups = (target.size + GROUP - 1) // GROUP
    masks = np.zeros(classes + 1, np.uint64)
    masks[0] = ~_U64(0)
    before, after = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for group in range(groups):
        start = group * GROUP
        changed = _difference_mask(target, base, start)
        if changed:
            for k in range(1, classes):
                masks[k] = _reach_mask(base, limits[k - 1], start)
            for k in range(classes):
                mine = masks[k] & ~masks[k + 1]
                left = changed & mine
                if not writes:
                    cursors[k] += _count(left)
                    continue
                while left:
                    i = _lowest(left)
                    left &= left - _ONE
                    rank = before[k] + _count(mine & ((_ONE << _U64(i)) - _ONE))
                    if cursors[k] < gaps.size:
                        gaps[cursors[k]] = rank - after[k]
                        word, below = target[start + i], base[start + i]
                        numbers[cursors[k]] = _number(word, below, bits, fold)
                    after[k] = rank + 1
                    cursors[k] += 1
        if classes == 1:
            before[0] += min(GROUP, target.size - start)
            continue
        above = 0
        for k in range(classes - 1, 0, -1):
            found = np.int64(reached[(k - 1) * groups + group])
            before[k] += found - above
            above = found
        before[0] += min(GROUP, target.size - start) - above


@njit([types.void(word, _in64, _i64, _u8) for word in _inputs], **_compiled)
def class_sizes(base: Any, limits: Any, sizes: Any, reached: Any) -> None:
    """Words of every class, and how many of every group reach each limit, limit by limit."""
    groups = (base.size + GROUP - 1) // GROUP
    sizes[0] = base.size
    for k in range(limits.size):
        total = 0
        for group in range(groups):
            found = _count(_reach_mask(base, limits[k], group * GROUP))
            reached[k * groups + group] = found
            total += found
        sizes[k] -= total
        sizes[k + 1] = total


@njit(
    [
        types.void(word, _in64, _in8, _ini64, _in32, _in64, types.uint64, out)
        for word, out in zip(_inputs, _outputs, strict=True)
    ],
    **_compiled,
)
def scatter(
    base: Any,
    limits: Any,
    reached: Any,
    bounds: Any,
    ranks: Any,
    numbers: Any,
    fold: Any,
    out: Any,
) -> None:
    """Change the words of ``out``, a copy of ``base``, that have these ranks in their classes."""
    bits = 8 * base.itemsize
    if limits.size == 0:
        for j in range(bounds[0], bounds[1]):
            place = ranks[j]
            out[place] = _changed(numbers[j], base[place], bits, fold)
        return
    groups = (base.size + GROUP - 1) // GROUP
    for k in range(limits.size + 1):
        group, before, inside, passed, left = -1, 0, 0, 0, _U64(0)
        for j in range(bounds[k], bounds[k + 1]):
            rank = np.int64(ranks[j])
            if rank >= before + inside:
                while rank >= before + inside:
                    before += inside
                    group += 1
                    inside = min(GROUP, base.size - group * GROUP)
                    if k > 0:
                        inside = np.int64(reached[(k - 1) * groups + group])
                    if k < limits.size:
                        inside -= np.int64(reached[k * groups + group])
                left = ~_U64(0)
                if k > 0:
                    left = _reach_mask(base, limits[k - 1], group * GROUP)
                if k < limits.size:
                    left &= ~_reach_mask(base, limits[k], group * GROUP)
                passed = before
            while passed < rank:
                left &= left - _ONE
                passed += 1
            place = group * GROUP + _lowest(left)
            out[place] = _changed(numbers[j], base[place], bits, fold)
