"""A frame decoder written from docs/formats/frame.md alone, one word at a time."""

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
FLOATS = {16: (10, 5, 115), 17: (7, 8, 3), 18: (23, 8, 3), 20: (23, 8, 3)}
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
    block_log2, base_dtype, zero, tables_nbytes, count, fixed_check = struct.unpack_from(
        "<2BH3I", frame, 24
    )
    require(magic == b"CLDF" and version == 1 and codec in (0, 1, 2, 3, 4))
    require(flags == (codec >= 3) and zero == 0)
    require(tables_nbytes <= 1 << 16 if codec == 4 else tables_nbytes == 0)
    require(base_dtype == (dtype if flags else 0) and (flags or base_nbytes == 0))
    require(raw_nbytes <= 1 << 40 and base_nbytes <= 1 << 40 and 12 <= block_log2 <= 24)
    require(count == (raw_nbytes + (1 << block_log2) - 1) >> block_log2)
    require(fixed_check == xxh3(frame[:36]) & 0xFFFFFFFF)
    index = 40 + tables_nbytes
    position = index + 24 * count + 8
    tables = frame[40:index]
    require(xxh3(frame[: position - 8]) == int.from_bytes(frame[position - 8 : position], "little"))
    if flags:
        require(base is not None and len(base) == base_nbytes)
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
        part = base[start:stop].ljust(stop - start, b"\0") if method >= 3 else None
        if method == 4:
            block = read_context(dtype, stored, part, read_tables(tables, dtype))
        else:
            block = read_block(method, dtype, stored, stop - start, part)
        require(len(block) == stop - start and xxh3(block) == raw_check)
        content += block
    require(position == len(frame))
    return content


def read_block(method, dtype, stored, nbytes, base):
    if method == 0:
        return stored
    if method == 1:
        return read_zstd(stored, nbytes)
    width = next(width for width, ids in WIDTHS.items() if dtype in ids)
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
    require(coding == 2)
    return read_zstd(stream, count)


def read_zstd(stored, nbytes):
    require(zstandard.frame_content_size(stored) == nbytes)
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


def read_tables(tables, dtype):
    symbols = 512 if dtype in WIDTHS[2] else 1024
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


def read_context(dtype, stored, base, rows):
    width = next(width for width, ids in WIDTHS.items() if dtype in ids)
    mantissa, exponent, lift = FLOATS[dtype]
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
    for i in range(count):
        below = int.from_bytes(base[i * width : (i + 1) * width], "little")
        step = 0
        if scales[i // 256] != 255:
            level = ((below >> mantissa) % (1 << exponent)) + lift - scales[i // 256]
            context = min(max(level, 0), 15)
            state, slot = states[i % 64], states[i % 64] % 2048
            symbol = slots[context][slot]
            within = slot - slots[context].index(symbol)
            state = rows[context][symbol] * (state // 2048) + within
            states[i % 64] = state if state >= 65536 else state * 65536 + next(words)[0]
            taken, z = divmod(symbol, 256) if symbol != 256 * width - 1 else (width, 0)
            z = (z << 8 * taken) + sum(next(raws[k]) << 8 * k for k in range(taken))
            step = z // 2 if z % 2 == 0 else -(z + 1) // 2
        place = below if below < top else 3 * top - 1 - below
        place = (place + step) % (2 * top)
        content += (place if place < top else 3 * top - 1 - place).to_bytes(width, "little")
    require(all(state == 65536 for state in states))
    require(not list(words) and not any(list(raw) for raw in raws))
    return content + stored[end:]
