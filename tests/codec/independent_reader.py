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
    require(magic == b"CLDF" and version == 1 and codec in (0, 1, 2, 3))
    require(flags == (codec == 3) and zero == 0 and tables_nbytes == 0)
    require(base_dtype == (dtype if flags else 0) and (flags or base_nbytes == 0))
    require(raw_nbytes <= 1 << 40 and base_nbytes <= 1 << 40 and 12 <= block_log2 <= 24)
    require(count == (raw_nbytes + (1 << block_log2) - 1) >> block_log2)
    require(fixed_check == xxh3(frame[:36]) & 0xFFFFFFFF)
    position = 48 + 24 * count
    require(xxh3(frame[: position - 8]) == int.from_bytes(frame[position - 8 : position], "little"))
    if flags:
        require(base is not None and len(base) == base_nbytes)
    content = b""
    for i in range(count):
        stored_nbytes, method, stored_check, raw_check = struct.unpack_from(
            "<IB3x2Q", frame, 40 + 24 * i
        )
        stored = frame[position : position + stored_nbytes]
        position += stored_nbytes
        start, stop = i << block_log2, min((i + 1) << block_log2, raw_nbytes)
        require(xxh3(stored) == stored_check)
        require(method in (0, 1, 2) or (method == 3 and flags))
        part = base[start:stop].ljust(stop - start, b"\0") if method == 3 else None
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
