"""A frame decoder written from docs/formats/frame.md alone, one word at a time."""

import math
import struct

import xxhash
import zstandard

WIDTHS = {
    1: (1, 2, 3, 24, 25, 26, 27, 28, 29, 30, 31),
    2: (4, 5, 16, 17),
    4: (6, 7, 18, 20),
    8: (8, 9, 19),
}
FIELDS = (17, 18, 20)
F16, BF16, F32 = 16, 17, 18
FLOATS = {F16: (10, 5), BF16: (7, 8), F32: (23, 8), 20: (23, 8)}
FLOATS |= {24: (3, 4), 27: (3, 4), 25: (2, 5), 28: (2, 5)}
STEPS = [*range(16), *((8 + k) * 2 ** (octave + 1) for octave in range(7) for k in range(8))]


class Refused(Exception):
    pass


def require(condition):
    if not condition:
        raise Refused


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def read(frame: bytes, base: bytes | None = None) -> bytes:
    magic, version, codec, dtype, flags, raw_nbytes, base_nbytes = struct.unpack_from(
        "<4s4B2Q", frame
    )
    block_log2, base_dtype, narrow, zero, tables_nbytes, count, fixed_check = struct.unpack_from(
        "<4B3I", frame, 24
    )
    require(magic == b"CLDF" and version == 1 and codec in range(7))
    require(zero == 0 and (flags in (1, 3) if codec >= 3 else flags == 0))
    has_factors, flags = flags == 3, flags & 1
    most = (1 << 16 if codec >= 4 else 0) + (min(raw_nbytes, 1 << 26) if has_factors else 0)
    require(tables_nbytes <= most)
    require(narrow == 0 or (dtype == F32 and narrow in (BF16, F16) and raw_nbytes % 4 == 0))
    coded, below = narrow or dtype, width_of(base_dtype) if flags else 1
    require(flags or (base_dtype == 0 and base_nbytes == 0))
    require(not flags or base_dtype == coded or {base_dtype, coded} <= {F16, BF16, F32})
    require(raw_nbytes <= 1 << 40 and base_nbytes <= 1 << 40 and 12 <= block_log2 <= 24)
    require(count == (raw_nbytes + (1 << block_log2) - 1) >> block_log2)
    require(fixed_check == xxh3(frame[:36]) & 0xFFFFFFFF)
    index = 40 + tables_nbytes
    position = index + 24 * count + 8
    tables = frame[40:index]
    require(xxh3(frame[: position - 8]) == int.from_bytes(frame[position - 8 : position], "little"))
    if flags:
        require(base is not None and len(base) == base_nbytes)
    if has_factors:
        require(coded in (F16, BF16, F32))
        nbytes, move = read_factors(tables, raw_nbytes // width_of(dtype), coded)
        tables = tables[nbytes:]
        require(len(tables) <= (1 << 16 if codec >= 4 else 0))
    content = b""
    for i in range(count):
        stored_nbytes, method, stored_check, raw_check = struct.unpack_from(
            "<IB3x2Q", frame, index + 24 * i
        )
        stored = frame[position : position + stored_nbytes]
        position += stored_nbytes
        start, stop = i << block_log2, min((i + 1) << block_log2, raw_nbytes)
        require(xxh3(stored) == stored_check)
        require(method in (0, 1, 2, codec) or (method == 3 and flags))
        nbytes, part = (stop - start) // (2 if narrow else 1), None
        require((stored_nbytes == nbytes) if method == 0 else (stored_nbytes < nbytes))
        if method >= 3:
            if narrow or base_dtype != dtype:
                width = width_of(dtype)
                part = base[start // width * below : stop // width * below]
                part = cast(part[: len(part) // below * below], base_dtype, coded)
            else:
                part = base[start:stop]
            if has_factors:
                part = move(part, start // width_of(dtype))
            part = part.ljust(nbytes, b"\0")
        if method in (4, 6):
            require(method == 4 or width_of(coded) < 4)
            rows = read_tables(tables, symbols_of(method, coded))
            block = read_context(method, coded, stored, part, rows)
        elif method == 5:
            block = read_changes(coded, stored, part, *read_sparse_tables(tables, coded))
        else:
            block = read_block(method, coded, stored, nbytes, part)
        require(len(block) == nbytes)
        block = cast(block, coded, F32) if narrow else block
        require(xxh3(block) == raw_check)
        content += block
    require(position == len(frame))
    return content


def width_of(dtype):
    return next(width for width, ids in WIDTHS.items() if dtype in ids)


def cast(data, source, target):
    if source == target:
        return data
    content = b""
    for j in range(0, len(data), width_of(source)):
        word = int.from_bytes(data[j : j + width_of(source)], "little")
        single = word if source == F32 else word << 16 if source == BF16 else up_from_half(word)
        word = {F32: int, BF16: down_to_brain, F16: down_to_half}[target](single)
        content += word.to_bytes(width_of(target), "little")
    return content


def up_from_half(word):
    sign, exponent, mantissa = word >> 15, word >> 10 & 31, word & 1023
    if exponent == 31:
        return sign << 31 | 255 << 23 | mantissa << 13
    value = struct.unpack("<e", struct.pack("<H", word))[0]
    return struct.unpack("<I", struct.pack("<f", value))[0]


def down_to_brain(word):
    if word & 0x7FFFFFFF > 0x7F800000:
        return word >> 16 | 0x40
    return (word + 0x7FFF + (word >> 16 & 1)) >> 16


def down_to_half(word):
    sign, mantissa = word >> 31, word & 0x7FFFFF
    if word & 0x7FFFFFFF > 0x7F800000:
        return sign << 15 | 31 << 10 | 0x200 | mantissa >> 13
    value = struct.unpack("<f", struct.pack("<I", word))[0]
    try:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    except OverflowError:
        return sign << 15 | 31 << 10


def read_factors(tables, elements, dtype):
    require(len(tables) >= 16)
    rows, columns, rank, exponent, length = struct.unpack_from("<IIHhI", tables)
    require(columns > 0 and rows == (elements + columns - 1) // columns)
    count = rank * (rows + columns)
    require(1 <= rank <= 128 and count <= min(elements, 1 << 25) and -126 <= exponent <= 96)
    stream = tables[16 : 16 + length]
    require(len(stream) == length)
    words = struct.unpack(f"<{count}H", read_block(2, 5, stream, 2 * count, None))
    numbers = [(z >> 1) ^ -(z & 1) for z in words]
    right = rank * rows

    def move(base, first):
        width, content = width_of(dtype), b""
        for j in range(len(base) // width):
            word = int.from_bytes(base[j * width : (j + 1) * width], "little")
            row, column = divmod(first + j, columns)
            total = sum(
                numbers[k * rows + row] * numbers[right + k * columns + column] for k in range(rank)
            )
            total = (total + (1 << 31)) % (1 << 32) - (1 << 31)
            content += stepped(word, single(single(total) * 2.0**exponent), dtype).to_bytes(
                width, "little"
            )
        return content

    return 16 + length, move


def stepped(word, step, dtype):
    mantissas, exponents = FLOATS[dtype]
    if word >> mantissas & ((1 << exponents) - 1) == (1 << exponents) - 1:
        return word
    up = int.from_bytes(cast(word.to_bytes(width_of(dtype), "little"), dtype, F32), "little")
    value = single(struct.unpack("<f", struct.pack("<I", up))[0] + step)
    up = struct.pack("<f", value)
    return int.from_bytes(cast(up, F32, dtype), "little")


def single(value):
    """To the nearest float of 32 bits; that of twice the bits was exact enough before."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def read_block(method, dtype, stored, nbytes, base):
    if method == 0:
        return stored
    if method == 1:
        return read_zstd(stored, nbytes)
    width = width_of(dtype)
    count, tail = divmod(nbytes, width)
    planes, position = [], 5 * width
    for k in range(width):
        coding, length = struct.unpack_from("<BI", stored, 5 * k)
        planes.append(read_stream(coding, stored[position : position + length], count))
        position += length
    require(len(stored) - position == tail)
    words = bytearray()
    for j in range(count):
        word = int.from_bytes(bytes(plane[j] for plane in planes), "big")
        if method == 2 and dtype in FIELDS:
            bits = 8 * width
            exponent, rest = word >> (bits - 8), word & ((1 << (bits - 8)) - 1)
            sign, mantissa = rest >> (bits - 9), rest & ((1 << (bits - 9)) - 1)
            word = (sign << (bits - 1)) | (exponent << (bits - 9)) | mantissa
        if method == 3:
            word ^= int.from_bytes(base[j * width : (j + 1) * width], "little")
        words += word.to_bytes(width, "little")
    return bytes(words) + stored[position:]


def read_stream(coding, stream, count):
    if coding == 0:
        require(len(stream) == count)
        return stream
    if coding == 1:
        require(len(stream) == 1)
        return stream * count
    if coding == 3:
        return read_rans(stream, count)
    require(coding == 2)
    return read_zstd(stream, count)


def read_rans(stream, count):
    frequencies, position = [], 0
    while sum(frequencies) < 4096:
        v, following = stream[position : position + 2]
        position += 1 if 1 <= v <= 127 else 2
        frequencies += [0] * (following + 1) if v == 0 else [v]
        if v >= 128:
            frequencies[-1] = (v - 128) * 256 + following
    require(sum(frequencies) == 4096 and len(frequencies) <= 256 and max(frequencies) <= 4095)
    values = [s for s, f in enumerate(frequencies) if f]
    slots = lay_out_slots(values, [frequencies[s] for s in values])
    numbers = struct.unpack_from("<128I", stream, position)
    words = struct.iter_unpack("<H", stream[position + 512 :])
    states, plane = list(numbers), bytearray()
    for i in range(count):
        x = states[i % 128]
        s, place = slots[x % 4096]
        x = frequencies[s] * (x // 4096) + place
        states[i % 128] = x if x >= 65536 else x * 65536 + next(words)[0]
        plane.append(s)
    require(not list(words) and all(x == 65536 for x in states))
    return bytes(plane)


def lay_out_slots(values, rest):
    count = 64 if len(values) <= 64 else 256
    room = 4096 // count
    own, partner, start = [0] * count, list(range(count)), [0] * count
    rest = rest + [0] * (count - len(rest))
    j = None
    while j is not None or min(rest) < room:
        if j is None:
            j = next(bucket for bucket in range(count) if rest[bucket] < room)
        d = next(bucket for bucket in range(count) if rest[bucket] > room)
        own[j], partner[j] = rest[j], d
        rest[d] -= room - rest[j]
        start[j], rest[j] = rest[d], room
        j = d if rest[d] < room else None
    return [
        (values[j], r) if r < own[j] else (values[partner[j]], r - own[j] + start[j])
        for j in range(count)
        for r in range(room)
    ]


def read_zstd(stored, nbytes):
    require(zstandard.frame_content_size(stored) == nbytes)
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


def symbols_of(method, dtype):
    return 768 if method == 6 else 1024 if dtype in WIDTHS[4] else 512


def read_tables(tables, symbols):
    content = read_zstd(tables, zstandard.frame_content_size(tables))
    rows, position = [], 80
    for context in range(16):
        used, implied, escape = struct.unpack_from("<HHB", content, 5 * context)
        if used == 0:
            rows.append(rows[-1])
            continue
        require(implied < used <= symbols - 1)
        codes = list(content[position : position + used])
        position += used
        for k in range(2, used):
            codes[k] = (codes[k] + codes[k - 2]) % 256
        require(codes[implied] == 0)
        row = [STEPS[code] for code in codes] + [0] * (symbols - 1 - used) + [STEPS[escape]]
        row[implied] = 2048 - sum(row)
        require(0 < row[implied] < 2048)
        rows.append(row)
    require(position == len(content))
    return rows


def read_context(method, dtype, stored, base, rows):
    width, is_byte = width_of(dtype), dtype in WIDTHS[1]
    if is_byte:
        width, base = 2, bytes(b for byte in base for b in (byte & 127, byte & 128))
    mantissa, exponent = FLOATS[dtype]
    lift = 3 + 128 - 2 ** (exponent - 1)
    count, tail = divmod(len(base), width)
    streams, position = [], 9 * (width + 1)
    for k in range(width + 1):
        coding, length, plain_length = struct.unpack_from("<B2I", stored, 9 * k)
        streams.append(read_stream(coding, stored[position : position + length], plain_length))
        position += length
    scales, raws = streams[0], [iter(stream) for stream in streams[1:]]
    require(len(scales) == (count + 255) // 256)
    end = len(stored) - tail
    words = struct.iter_unpack("<H", stored[position:end])
    states = [next(words)[0] + 65536 * next(words)[0] for _ in range(64)] if position < end else []
    slots = [[symbol for symbol, n in enumerate(row) for _ in range(n)] for row in rows]
    content, top = b"", 1 << (8 * width - 1)
    last = symbols_of(method, dtype) - 1
    for i in range(count):
        below = int.from_bytes(base[i * width : (i + 1) * width], "little")
        flip = below & top if method == 6 else 0
        step = 0
        if scales[i // 256] != 255:
            level = ((below >> mantissa) % (1 << exponent)) + lift - scales[i // 256]
            context = min(max(level, 0), 15)
            state, slot = states[i % 64], states[i % 64] % 2048
            symbol = slots[context][slot]
            within = slot - slots[context].index(symbol)
            state = rows[context][symbol] * (state // 2048) + within
            states[i % 64] = state if state >= 65536 else state * 65536 + next(words)[0]
            if method == 6 and 256 <= symbol < last:
                z = (symbol - 256) // 2 * 256 ^ symbol % 2 ^ next(raws[0]) ^ 2
            else:
                taken, z = divmod(symbol, 256) if symbol != last else (width, 0)
                z = (z << 8 * taken) + sum(next(raws[k]) << 8 * k for k in range(taken))
                z ^= 2 if method == 6 and symbol == last else 0
            step = z // 2 if z % 2 == 0 else -(z + 1) // 2
        below ^= flip
        place = below if below < top else 3 * top - 1 - below
        place = (place + step) % (2 * top)
        word = place if place < top else 3 * top - 1 - place
        content += (word ^ flip).to_bytes(width, "little")
    require(all(state == 65536 for state in states))
    require(not list(words) and not any(list(raw) for raw in raws))
    if is_byte:
        require(all(low < 128 and high in (0, 128) for low, high in batches(content)))
        return bytes(low | high for low, high in batches(content))
    return content + stored[end:]


def batches(content):
    return zip(content[::2], content[1::2], strict=True)


def read_sparse_tables(tables, dtype):
    data = iter(tables)
    limits = [None] * (next(data) - 1)
    require(len(limits) <= 7)
    for k in range(len(limits)):
        limits[k] = next(data) + 256 * next(data)
    require(all(0 < limit < 1 << 15 for limit in limits) and limits == sorted(set(limits)))
    gap_tables, number_tables = [], []
    for _ in range(len(limits) + 1):
        by_context, count = [], next(data)
        for _ in range(count):
            end = next(data)
            require(len(by_context) < end <= 23)
            by_context += [read_sparse_table(data, 91)] * (end - len(by_context))
        require(len(by_context) == 23)
        gap_tables.append(by_context)
        number_tables.append(read_sparse_table(data, 32 * width_of(dtype) - 5))
    require(next(data, None) is None)
    return limits, gap_tables, number_tables


def read_sparse_table(data, most):
    first, last, implied = next(data), next(data), next(data)
    require(first <= implied <= last <= most)
    halves, row, code = [], [0] * 253, 0

    def half_byte():
        if not halves:
            byte = next(data)
            halves.extend((byte % 16, byte // 16))
        return halves.pop(0)

    for symbol in range(first, last + 1):
        if symbol != implied:
            step = half_byte()
            code = half_byte() + 16 * half_byte() if step == 15 else code + step - 7
            require(0 <= code < 72)
            row[symbol] = STEPS[code]
    require(not any(halves))
    row[252] = 1
    row[implied] = 2048 - sum(row)
    require(row[implied] >= 1)
    return row


class State:
    def __init__(self, words):
        self.words = words
        self.x = next(words) + 65536 * next(words)

    def refill(self):
        if self.x < 65536:
            self.x = self.x * 65536 + next(self.words)

    def bits(self, count):
        value, shift = 0, 0
        while count > 16:
            value, shift, count = value + (self.bits(16) << shift), shift + 16, count - 16
        value += self.x % (1 << count) << shift
        self.x >>= count
        self.refill()
        return value

    def value(self, row, escape_bits):
        slot, first, symbol = self.x % 2048, 0, 0
        while slot >= first + row[symbol]:
            first, symbol = first + row[symbol], symbol + 1
        self.x = row[symbol] * (self.x // 2048) + slot - first
        self.refill()
        if symbol == 252:
            return self.bits(escape_bits)
        e, m = divmod(symbol - 8, 4)
        return symbol if symbol < 8 else ((4 + m) << (e + 1)) + self.bits(e + 1)


def symbol_of(value):
    if value < 8:
        return value
    e = value.bit_length() - 4
    return 8 + 4 * e + (value >> (e + 1)) - 4


def read_changes(dtype, stored, base, limits, gap_tables, number_tables):
    if stored == b"\0":
        return base
    require(stored[0] == 1)
    width = width_of(dtype)
    count, tail = divmod(len(base), width)
    end = len(stored) - tail
    top = 1 << (8 * width - 1)
    words = [int.from_bytes(base[i * width : (i + 1) * width], "little") for i in range(count)]
    classes = [sum(limit * 256**width <= word % top * 65536 for limit in limits) for word in words]
    stream = (word for (word,) in struct.iter_unpack("<H", stored[1:end]))
    gaps, numbers = State(stream), State(stream)
    changes = 0
    for k in range(len(limits) + 1):
        members = [i for i in range(count) if classes[i] == k]
        length, mean, rank = gaps.bits(5), 256, -1
        left = (1 << (length - 1)) + gaps.bits(length - 1) if length else 0
        changes += left
        for _ in range(left):
            gap = gaps.value(gap_tables[k][mean // 32], 24)
            mean += symbol_of(gap) - mean // 8
            rank += gap + 1
            z = numbers.value(number_tables[k], 8 * width) + 1
            step = z // 2 if z % 2 == 0 else -(z + 1) // 2
            words[members[rank]] = moved(words[members[rank]], step, dtype, top)
    require(changes <= count // 2)
    require(gaps.x == numbers.x == 65536 and next(stream, None) is None)
    return b"".join(word.to_bytes(width, "little") for word in words) + stored[end:]


def moved(word, step, dtype, top):
    if dtype not in FLOATS and dtype != 19:
        return (word + step) % (2 * top)
    place = word if word < top else 3 * top - 1 - word
    place = (place + step) % (2 * top)
    return place if place < top else 3 * top - 1 - place
