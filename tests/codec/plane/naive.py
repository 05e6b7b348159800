"""Plain twins of the kernels of rANS-coded planes, with Python's own integers."""

SLOTS = 4096
LANES = 128


def apportion(counts):
    """Slots in proportion, one at least for each byte that occurs; the rest is the first one's."""
    total = sum(counts)
    shares = [min(max((n * SLOTS + total // 2) // total, 1), SLOTS - 1) if n else 0 for n in counts]
    while (rest := SLOTS - sum(shares)) != 0:
        most = shares.index(max(shares))
        shares[most] += rest if rest > 0 else max(rest, -shares[most] // 8 - 1)
    return shares


def lay_out(frequencies):
    """For every slot the symbol and which of its slots it is, by the alias method."""
    symbols = [symbol for symbol, frequency in enumerate(frequencies) if frequency]
    buckets = 64 if len(symbols) <= 64 else 256
    room = SLOTS // buckets
    rests = [frequencies[symbol] for symbol in symbols] + [0] * (buckets - len(symbols))
    cuts = {}
    lacking = [j for j in range(buckets) if rests[j] < room]
    while lacking:
        j = lacking.pop(0)
        donor = min(k for k in range(buckets) if rests[k] > room)
        rests[donor] -= room - rests[j]
        cuts[j] = (rests[j], donor, rests[donor])
        rests[j] = room
        if rests[donor] < room:
            lacking.insert(0, donor)
    slots = []
    for j in range(buckets):
        own, donor, start = cuts.get(j, (room, j, 0))
        slots += [(symbols[j], place) for place in range(own)]
        slots += [(symbols[donor], start + more) for more in range(room - own)]
    return slots


def encode(plane, frequencies):
    """The 128 states and the words, in the order in which they are read."""
    slot_of = {entry: slot for slot, entry in enumerate(lay_out(frequencies))}
    states, words = [1 << 16] * LANES, []
    for i, symbol in reversed(list(enumerate(plane))):
        state, frequency = states[i % LANES], frequencies[symbol]
        if state >= frequency << 20:
            words.append(state & 0xFFFF)
            state >>= 16
        slot = slot_of[symbol, state % frequency]
        states[i % LANES] = (state // frequency) * SLOTS + slot
    return states, words[::-1]


def decode(states, words, frequencies, length):
    """The plane, and whether words and states end as they should; IndexError if words lack."""
    slots, states, at, plane = lay_out(frequencies), list(states), 0, []
    for i in range(length):
        symbol, place = slots[states[i % LANES] % SLOTS]
        state = frequencies[symbol] * (states[i % LANES] // SLOTS) + place
        if state < 1 << 16:
            state, at = state << 16 | words[at], at + 1
        states[i % LANES] = state
        plane.append(symbol)
    return plane, at == len(words) and all(state == 1 << 16 for state in states)


def store_frequencies(frequencies):
    stored, gap = [], 0
    last = max(symbol for symbol, frequency in enumerate(frequencies) if frequency)
    for frequency in frequencies[: last + 1]:
        if frequency == 0:
            gap += 1
            continue
        stored += [0, gap - 1] if gap else []
        stored += [frequency] if frequency < 128 else [128 + frequency // 256, frequency % 256]
        gap = 0
    return bytes(stored)
