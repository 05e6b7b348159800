"""Plain twins of ``codec.context.kernels``: one element at a time, with Python's own integers."""

import numpy as np

MANTISSA = {"BF16": 7, "F16": 10, "F32": 23}
EXPONENT = {"BF16": 8, "F16": 5, "F32": 8}
WIDTH = {"BF16": 2, "F16": 2, "F32": 4}
GAP = {"BF16": 0, "F16": 112, "F32": 0}


def ordered(word, bits):
    """The place of a float among all floats, as an integer modulo 2^bits."""
    return word ^ ((1 << (bits - 1)) - 1) if word >> (bits - 1) else word


def difference(word, below, bits):
    step = (ordered(word, bits) - ordered(below, bits)) % (1 << bits)
    signed = step - (1 << bits) if step >> (bits - 1) else step
    return 2 * signed if signed >= 0 else -2 * signed - 1


def restored(z, below, bits):
    signed = z // 2 if z % 2 == 0 else -(z + 1) // 2
    return ordered((ordered(below, bits) + signed) % (1 << bits), bits)


def context(below, scale, dtype):
    exponent = (below >> MANTISSA[dtype]) & ((1 << EXPONENT[dtype]) - 1)
    return min(max(exponent + GAP[dtype] + 3 - scale, 0), 15)


def turned(word, below, bits, signs):
    """A word as it would be if its base were positive; undoes itself."""
    return word ^ (1 << (bits - 1)) if signs and below >> (bits - 1) else word


def symbols(width, signs):
    """How many symbols there are; the last one says that all is raw."""
    return 768 if signs else 256 * width


def symbol(z, signs):
    """Of a difference; with signs upper byte and lowest bit, otherwise class and top byte."""
    if signs:
        return z if z < 256 else 256 + 2 * (z // 256) + z % 2
    raws = (max(z.bit_length(), 1) - 1) // 8
    return raws * 256 + (z >> (8 * raws))


def rest(chosen, z, width, signs):
    """The raw bytes behind a symbol."""
    mark = 2 if signs else 0
    if chosen == symbols(width, signs) - 1:
        return [((z ^ mark) >> (8 * k)) & 255 for k in range(width)]
    if signs:
        return [z & 254 ^ mark] if chosen > 255 else []
    return [(z >> (8 * k)) & 255 for k in range(chosen // 256)]


def whole(chosen, raws, width, signs):
    """The difference of a symbol and the raw bytes that ``raws`` have for it."""
    if chosen == symbols(width, signs) - 1:
        return sum(next(raws[k]) << (8 * k) for k in range(width)) ^ (2 if signs else 0)
    if signs:
        if chosen < 256:
            return chosen
        return (chosen - 256) // 2 * 256 ^ chosen % 2 ^ next(raws[0]) ^ 2
    taken, top = divmod(chosen, 256)
    return (top << (8 * taken)) + sum(next(raws[k]) << (8 * k) for k in range(taken))


def values(words, dtype):
    """The floats of words as 32-bit floats; in F16 infinities go on where the numbers end."""
    words = words.astype(np.uint32)
    if dtype == "F16":
        bits = ((words & 0x7FFF) << 13) | ((words >> 15) << 31)
        return bits.astype(np.uint32).view(np.float32) * np.float32(2.0**112)
    return (words << 16 if dtype == "BF16" else words).astype(np.uint32).view(np.float32)


def scale(target, base, dtype):
    """Exponent of the mean of |target - base|; the sum runs in eight parts."""
    if np.array_equal(target, base):
        return 255
    with np.errstate(all="ignore"):
        steps = np.abs(values(target, dtype) - values(base, dtype))
        sums = np.zeros(8, np.float32)
        whole = steps.size - steps.size % 8
        for i, step in enumerate(steps):
            sums[i % 8 if i < whole else 0] += step
        a, b, c, d = (sums[k] + sums[k + 1] for k in range(0, 8, 2))
        mean = np.float32(((a + b) + (c + d)) / np.float32(steps.size))
    bits = int(mean.view(np.uint32))
    exponent = (bits >> 23) & 255
    if exponent == 255:
        return 127
    return min(max(exponent + ((bits & 0x7FFFFF) > 0x3504F3), 1), 250)


def symbolise(target, base, dtype, folds, signs):
    """Scales, cells by element (None where unchanged) and raw streams."""
    width, bits = WIDTH[dtype], 8 * WIDTH[dtype]
    scales, cells, raws = [], [], [bytearray() for _ in range(width)]
    for start in range(0, len(target), 256):
        group, under = target[start : start + 256], base[start : start + 256]
        scales.append(scale(group, under, dtype))
        for word, below in zip(group.tolist(), under.tolist(), strict=True):
            if scales[-1] == 255:
                cells.append(None)
                continue
            pair = (turned(each, below, bits, signs) for each in (word, below))
            z = difference(*pair, bits)
            cell = int(folds[context(below, scales[-1], dtype) * 1024 + symbol(z, signs)])
            for raw, byte in zip(raws, rest(cell % 1024, z, width, signs), strict=False):
                raw.append(byte)
            cells.append(cell)
    return scales, cells, [bytes(raw) for raw in raws]


def encode(cells, rows):
    """States and words of cells, of which each row of ``rows`` has the frequencies."""
    rows = rows.astype(int).tolist()
    states, words = [1 << 16] * 64, []
    for i, cell in reversed(list(enumerate(cells))):
        if cell is None:
            continue
        row, at = rows[cell // 1024], cell % 1024
        state = states[i % 64]
        if state >= row[at] << 21:
            words.append(state & 0xFFFF)
            state >>= 16
        states[i % 64] = (state // row[at] << 11) + state % row[at] + sum(row[:at])
    halves = [half for state in states for half in (state & 0xFFFF, state >> 16)]
    return halves + words[::-1]


def decode(words, raws, scales, rows, base, dtype, signs):
    """The words of the target; StopIteration if a stream ends early."""
    width, bits = WIDTH[dtype], 8 * WIDTH[dtype]
    runs = [np.repeat(np.arange(len(row)), row).tolist() for row in rows]
    states = [words[2 * k] | words[2 * k + 1] << 16 for k in range(64)]
    words, raws = iter(words[128:]), [iter(raw) for raw in raws]
    target = []
    for i, below in enumerate(base.tolist()):
        if scales[i // 256] == 255:
            target.append(below)
            continue
        row = context(below, scales[i // 256], dtype)
        slot = states[i % 64] % 2048
        chosen = runs[row][slot]
        first = int(rows[row][:chosen].sum())
        states[i % 64] = int(rows[row][chosen]) * (states[i % 64] // 2048) + slot - first
        if states[i % 64] < 1 << 16:
            states[i % 64] = states[i % 64] << 16 | next(words)
        z = whole(chosen, raws, width, signs)
        under = turned(below, below, bits, signs)
        target.append(turned(restored(z, under, bits), below, bits, signs))
    return target
