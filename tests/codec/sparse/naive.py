"""Plain twins of ``codec.sparse.kernels`` and ``codec.sparse.rans``, with Python's own integers."""

SLOTS, LOWEST, ESCAPE = 2048, 1 << 16, 252


def magnitude(word, bits):
    return word & ((1 << (bits - 1)) - 1)


def class_of(below, limits, bits):
    return sum(magnitude(below, bits) >= limit for limit in limits)


def place(word, bits, is_float):
    """Where a word stands among all words, modulo 2^bits."""
    return word ^ ((1 << (bits - 1)) - 1) if is_float and word >> (bits - 1) else word


def number(word, below, bits, is_float):
    """Zigzag of the difference of two unequal words, less one."""
    step = (place(word, bits, is_float) - place(below, bits, is_float)) % (1 << bits)
    signed = step - (1 << bits) if step >> (bits - 1) else step
    return (2 * signed if signed >= 0 else -2 * signed - 1) - 1


def changed(value, below, bits, is_float):
    z = (value + 1) % (1 << bits)
    signed = z // 2 if z % 2 == 0 else -(z + 1) // 2
    return place((place(below, bits, is_float) + signed) % (1 << bits), bits, is_float)


def changes(target, base, limits, bits, is_float):
    """For every class the ranks, gaps and numbers of what changed."""
    found = []
    for k in range(len(limits) + 1):
        members = [i for i in range(len(base)) if class_of(base[i], limits, bits) == k]
        ranks = [r for r, i in enumerate(members) if target[i] != base[i]]
        gaps = [r - before - 1 for before, r in zip([-1, *ranks], ranks, strict=False)]
        numbers = [number(target[members[r]], base[members[r]], bits, is_float) for r in ranks]
        found.append((ranks, gaps, numbers))
    return found


def scatter(base, limits, by_class, bits, is_float):
    """The target that ranks and numbers by class make of a base."""
    target = list(base)
    for k, (ranks, numbers) in enumerate(by_class):
        members = [i for i in range(len(base)) if class_of(base[i], limits, bits) == k]
        for rank, value in zip(ranks, numbers, strict=True):
            target[members[rank]] = changed(value, base[members[rank]], bits, is_float)
    return target


def symbol(value):
    """The symbol of a number, and how many of its lower bits that leaves open."""
    if value < 8:
        return value, 0
    extra = value.bit_length() - 3
    return 4 + 4 * extra + (value >> extra) % 4, extra


def contexts(gaps):
    mean, found = 256, []
    for gap in gaps:
        found.append(mean // 32)
        mean += symbol(gap)[0] - mean // 8
    return found


class Stack:
    """A state of rANS: what is pushed last is read first."""

    def __init__(self, words):
        self.x, self.words = LOWEST, words

    def push(self, row, which):
        f = row[which]
        if self.x >> 21 >= f:
            self.words.append(self.x % 65536)
            self.x >>= 16
        self.x = self.x // f * SLOTS + sum(row[:which]) + self.x % f

    def push_bits(self, value, count):
        parts = [(value >> at & 0xFFFF, min(16, count - at)) for at in range(0, count, 16)]
        for part, length in reversed(parts):
            if self.x >> (32 - length):
                self.words.append(self.x % 65536)
                self.x >>= 16
            self.x = self.x << length | part % (1 << length)

    def push_number(self, row, value, all_bits):
        which, extra = symbol(value)
        if row[which] == 0:
            which, extra = ESCAPE, all_bits
        self.push_bits(value, extra)
        self.push(row, which)


def encode(by_class, gap_rows, number_rows, bits):
    """Words in the order in which they are read; rows are by class, for gaps by context too."""
    words = []
    of_gaps, of_numbers = Stack(words), Stack(words)
    for (_, gaps, numbers), by_context, row in reversed(
        list(zip(by_class, gap_rows, number_rows, strict=True))
    ):
        told = list(zip(gaps, numbers, contexts(gaps), strict=True))
        for gap, value, context in reversed(told):
            of_numbers.push_number(row, value, bits)
            of_gaps.push_number(by_context[context], gap, 24)
        length = len(gaps).bit_length()
        of_gaps.push_bits(len(gaps), max(length - 1, 0))
        of_gaps.push_bits(length, 5)
    for state in (of_numbers, of_gaps):
        words += [state.x >> 16, state.x % 65536]
    return words[::-1]
