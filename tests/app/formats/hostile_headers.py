"""Safetensors files that lie: what each is called, its bytes, and a word of the fault we name."""

import json
import struct

from tests.fixtures.files import safetensors_file

PAIR = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
DATA = b"\x01\x02\x03\x04"


def tensor(
    name: str = "a", dtype: str = '"U8"', shape: str = "[4]", offsets: str = "[0,4]", more: str = ""
) -> str:
    """One header entry, its values spelled as JSON."""
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def header(*entries: str) -> bytes:
    """A file with these header entries and four data bytes."""
    return safetensors_file("{" + ",".join(entries) + "}", DATA)


HOSTILE: dict[str, tuple[bytes, str]] = {
    # Accepted by the library although two readers may see two things.
    "duplicate tensor, decoy first": (header(tensor(dtype='"I8"'), tensor()), "twice"),
    "duplicate key in metadata": (header('"__metadata__":{"k":"1","k":"2"}', tensor()), "twice"),
    "leading space": (safetensors_file(" {" + PAIR + "}", DATA), "begin with"),
    "leading newline": (safetensors_file("\n{" + PAIR + "}", DATA), "begin with"),
    "extra field": (header(tensor(more=',"stride":[1]')), "other fields"),
    "metadata null": (header('"__metadata__":null', tensor()), "not an object"),
    "NUL in name": (header(tensor(name="a\\u0000b")), "NUL"),
    # Rejected by the library as well.
    "two halves of one tensor": (
        header(tensor(shape="[2]", offsets="[0,2]"), tensor(shape="[2]", offsets="[2,4]")),
        "twice",
    ),
    "duplicate dtype": (header(tensor(more=',"dtype":"U8"')), "twice"),
    "duplicate metadata": (header('"__metadata__":{}', '"__metadata__":{}', tensor()), "twice"),
    "float in shape": (header(tensor(shape="[4.0]")), "not an integer"),
    "exponent in shape": (header(tensor(shape="[4e0]")), "not an integer"),
    "float in offsets": (header(tensor(offsets="[0,4.0]")), "not an integer"),
    "NaN in shape": (header(tensor(shape="[NaN]")), "NaN"),
    "Infinity in offsets": (header(tensor(offsets="[0,Infinity]")), "Infinity"),
    "minus Infinity in offsets": (header(tensor(offsets="[-Infinity,4]")), "Infinity"),
    "negative offset": (header(tensor(offsets="[-4,0]")), "negative"),
    "negative zero": (header(tensor(offsets="[-0,4]")), "negative"),
    "negative dimension": (header(tensor(shape="[-4]")), "negative"),
    "lone surrogate in name": (header(tensor(name="\\ud800")), "surrogate"),
    "lone surrogate in metadata": (header('"__metadata__":{"k":"\\udfff"}', tensor()), "surrogate"),
    "raw surrogate bytes": (header(tensor(name="\ud800")), "UTF-8"),
    "overlong UTF-8": (
        safetensors_file(b"{" + tensor(name="X").encode().replace(b"X", b"\xc0\xaf") + b"}", DATA),
        "UTF-8",
    ),
    "bad UTF-8": (
        safetensors_file(b"{" + tensor(name="X").encode().replace(b"X", b"\xff") + b"}", DATA),
        "UTF-8",
    ),
    "trailing byte": (header(tensor()) + b"x", "trailing"),
    "one byte short": (header(tensor())[:-1], "beyond the end"),
    "nested 200 deep": (header(tensor(), '"b":' + "[" * 200 + "]" * 200), "other fields"),
    "nested 100,000 deep": (
        safetensors_file('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "nests too deep",
    ),
    "missing dtype": (
        safetensors_file('{"a":{"shape":[4],"data_offsets":[0,4]}}', DATA),
        "other fields",
    ),
    "missing shape": (
        safetensors_file('{"a":{"dtype":"U8","data_offsets":[0,4]}}', DATA),
        "other fields",
    ),
    "missing offsets": (safetensors_file('{"a":{"dtype":"U8","shape":[4]}}', DATA), "other fields"),
    "tensor is a list": (safetensors_file('{"a":["U8",[4],[0,4]]}', DATA), "other fields"),
    "tensor is null": (safetensors_file('{"a":null}'), "other fields"),
    "header is a list": (safetensors_file("[]"), "begin with"),
    "header is a string": (safetensors_file('"{}"'), "begin with"),
    "header is empty": (safetensors_file(""), "length is 0"),
    "header of one byte": (safetensors_file("{"), "length is 1"),
    "header cut off": (safetensors_file("{" + PAIR, DATA), "not JSON"),
    "two documents": (safetensors_file("{}{}"), "not JSON"),
    "NUL padding": (safetensors_file("{" + PAIR + "}\0\0\0", DATA), "not JSON"),
    "control character in name": (header(tensor(name="a\tb")), "not JSON"),
    "single quotes": (safetensors_file("{'a':1}"), "not JSON"),
    "comment": (safetensors_file("{/**/" + PAIR + "}", DATA), "not JSON"),
    "trailing comma": (safetensors_file("{" + PAIR + ",}", DATA), "not JSON"),
    "byte order mark": (safetensors_file(b"\xef\xbb\xbf{" + PAIR.encode() + b"}", DATA), "begin"),
    "UTF-16": (safetensors_file(("{" + PAIR + "}").encode("utf-16-le"), DATA), "not JSON"),
    "metadata is a list": (header('"__metadata__":[]', tensor()), "not an object"),
    "metadata value is a number": (header('"__metadata__":{"k":1}', tensor()), "not a string"),
    "metadata value is an object": (header('"__metadata__":{"k":{}}', tensor()), "not a string"),
    "hole at the start": (
        safetensors_file("{" + tensor(shape="[3]", offsets="[1,4]") + "}", DATA),
        "hole",
    ),
    "hole in the middle": (
        header(
            tensor("a", shape="[1]", offsets="[0,1]"), tensor("b", shape="[1]", offsets="[3,4]")
        ),
        "hole",
    ),
    "overlap": (
        header(
            tensor("a", shape="[3]", offsets="[0,3]"), tensor("b", shape="[2]", offsets="[2,4]")
        ),
        "overlaps",
    ),
    "same range twice": (header(tensor("a"), tensor("b")), "overlaps"),
    "empty tensor inside another": (
        header(tensor("a"), tensor("b", shape="[0]", offsets="[2,2]")),
        "overlaps",
    ),
    "offsets swapped": (header(tensor(offsets="[4,0]")), "not a range"),
    "three offsets": (header(tensor(offsets="[0,2,4]")), "not a range"),
    "one offset": (header(tensor(offsets="[4]")), "not a range"),
    "offsets are strings": (header(tensor(offsets='["0","4"]')), "not a range"),
    "offsets are booleans": (header(tensor(shape="[1]", offsets="[false,true]")), "not a range"),
    "offset beyond 64 bits": (header(tensor(offsets="[0,18446744073709551620]")), "63 bits"),
    "offset of 5,000 digits": (header(tensor(offsets="[0," + "9" * 5000 + "]")), "63 bits"),
    "offset beyond the file": (header(tensor(shape="[400]", offsets="[0,400]")), "beyond the end"),
    "shape does not fit": (header(tensor(shape="[5]")), "given 4 bytes"),
    "shape of a wider dtype": (header(tensor(dtype='"F32"')), "given 4 bytes"),
    "shape overflows": (header(tensor(shape="[9223372036854775807,2]")), "63 bits"),
    "shape overflows before a zero": (
        header(
            tensor(),
            tensor("b", shape="[9223372036854775807,9223372036854775807,0]", offsets="[4,4]"),
        ),
        "63 bits",
    ),
    "shape wraps to fit": (
        header(tensor(shape="[4294967296,4294967296]", offsets="[0,0]"), tensor("b")),
        "63 bits",
    ),
    "shape is a number": (header(tensor(shape="4")), "list of integers"),
    "shape holds a boolean": (header(tensor(shape="[true,4]")), "list of integers"),
    "half a byte": (header(tensor(dtype='"F4"', shape="[7]")), "given 4 bytes"),
    "dtype is a number": (header(tensor(dtype="1")), "not a name"),
    "dtype is empty": (header(tensor(dtype='""')), "not a name"),
    "dtype with a space": (header(tensor(dtype='"U8 "')), "not a name"),
    "header length of 2^63": (struct.pack("<Q", 1 << 63) + b'{"a":1}', "does not fit"),
    "header length of 2^64 - 1": (struct.pack("<Q", (1 << 64) - 1) + b'{"a":1}', "does not fit"),
    "header longer than the file": (struct.pack("<Q", 9) + b'{"a":1}', "does not fit"),
}

ODD_BUT_SOUND: dict[str, bytes] = {
    "no tensors": safetensors_file("{}"),
    "only metadata": safetensors_file('{"__metadata__":{}}'),
    "padded with spaces": safetensors_file("{" + PAIR + "}     ", DATA),
    "whitespace inside": safetensors_file("{ \n" + PAIR + "\t}", DATA),
    "two empty tensors at one offset": header(
        tensor(),
        tensor("b", shape="[0]", offsets="[4,4]"),
        tensor("c", shape="[0]", offsets="[4,4]"),
    ),
    "empty tensor first": header(tensor("b", shape="[0]", offsets="[0,0]"), tensor()),
    "vast but empty": header(
        tensor(),
        tensor("b", shape="[0,9223372036854775807,9223372036854775807]", offsets="[4,4]"),
    ),
    "scalar": safetensors_file("{" + tensor(dtype='"F32"', shape="[]") + "}", DATA),
    "four-bit elements": header(tensor(dtype='"F4"', shape="[8]")),
    "six-bit elements": safetensors_file(
        "{" + tensor(dtype='"F6_E2M3"', shape="[4]", offsets="[0,3]") + "}", bytes(3)
    ),
    "empty name": header(tensor(name="")),
    "name out of the Basic Multilingual Plane": header(tensor(name="\\ud83e\\udd17")),
    "listed out of order": header(
        tensor("b", shape="[1]", offsets="[3,4]"), tensor("a", shape="[3]", offsets="[0,3]")
    ),
    "library's own": safetensors_file(
        json.dumps({"a": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [0, 4]}}), DATA
    ),
}
