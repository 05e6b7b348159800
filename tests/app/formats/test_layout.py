"""From a prefix to a layout: what is recognised, what is asked for, what is only bytes."""

import json
import random

import pytest

from app.formats.layout import SMALL_FILE_NBYTES, Layout, NeedMore, parse_layout
from app.formats.safetensors import looks_like
from app.settings import Limits
from tests.app.formats.hostile_headers import HOSTILE
from tests.fixtures.files import gguf_of, safetensors_file, safetensors_of

LIMITS = Limits()  # pyright: ignore[reportCallIssue]


def layout_of(file: bytes, limits: Limits = LIMITS, *, chunk_nbytes: int = 1) -> Layout:
    """The layout, with a prefix that grows as asked, rounded up to whole chunks."""
    nbytes = 0
    while isinstance(answer := parse_layout(file[:nbytes], len(file), limits), NeedMore):
        assert nbytes < answer.nbytes <= len(file)
        nbytes = -(-answer.nbytes // chunk_nbytes) * chunk_nbytes
    return answer


def sound_safetensors() -> bytes:
    return safetensors_of({f"t{i}": ("U8", [1000], bytes([i]) * 1000) for i in range(40)})


@pytest.mark.parametrize("chunk_nbytes", [1, 1000, 1 << 20])
@pytest.mark.parametrize("name", ["safetensors", "gguf"])
def test_sound_file_is_taken_apart_however_much_of_it_is_seen(name: str, chunk_nbytes: int):
    files = {
        "safetensors": sound_safetensors(),
        "gguf": gguf_of({"a": (0, (8192,), bytes(1 << 15))}),
    }
    layout = layout_of(files[name], chunk_nbytes=chunk_nbytes)
    assert (layout.format, layout.warning) == (name, None)
    assert sum(segment.nbytes for segment in layout.segments) == len(files[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_file_that_only_looks_like_safetensors_is_opaque_and_comes_with_a_warning(name: str):
    file = HOSTILE[name][0] + bytes(SMALL_FILE_NBYTES)  # all are too short to be looked into
    layout = layout_of(file)
    assert (layout.format, layout.segments) == ("opaque", ())
    if looks_like(file):
        assert layout.warning is not None
        assert layout.warning.startswith("stored as opaque bytes: it looks like safetensors, but")
        assert layout.warning.isascii()
    else:
        assert layout.warning is None
        assert file[8:10] not in (b'{"', b"{}")


def test_small_file_is_opaque_without_a_warning_whatever_it_is():
    for file in (b"", b"GGUF", HOSTILE["trailing byte"][0], safetensors_file("{}")):
        assert layout_of(file) == Layout("opaque")


@pytest.mark.parametrize(
    "start",
    [
        b"PK\x03\x04",
        b"\x80\x02}q\x00X\x05\x00{",
        b'{"data":{"a":1},' * 2,
        json.dumps({"vocab": {}}, indent=1).encode(),
        b"\x89PNG\r\n\x1a\n",
        b"ggml" * 3,
    ],
)
def test_other_formats_are_opaque_without_a_warning(start: bytes):
    assert layout_of(start + bytes(SMALL_FILE_NBYTES)) == Layout("opaque")


def test_random_bytes_are_opaque_without_a_warning():
    rng = random.Random(5)
    for _ in range(500):
        assert layout_of(rng.randbytes(64) + bytes(SMALL_FILE_NBYTES)) == Layout("opaque")


def test_odd_gguf_is_opaque_with_a_warning():
    layout = layout_of(b"GGUF" + bytes(SMALL_FILE_NBYTES))
    assert layout.format == "opaque"
    assert layout.warning is not None
    assert "looks like GGUF, but its GGUF version is 0" in layout.warning


def test_long_header_is_parsed_alike_in_a_child_process():
    few = Limits(header_inline_nbytes=100)  # pyright: ignore[reportCallIssue]
    for file in (
        sound_safetensors(),
        gguf_of({"a": (0, (4, 2048), bytes(1 << 15))}, {"tokens": ["x" * 99] * 20_000}),
        gguf_of({"a": (0, (8192,), bytes(1 << 15))}, {"tokens": ["x" * 99] * 20_000}) + bytes(99),
    ):
        many = Limits(header_inline_nbytes=25_000_000)  # pyright: ignore[reportCallIssue]
        assert layout_of(file, few) == layout_of(file, many)


def test_header_beyond_the_limit_makes_the_file_opaque():
    few = Limits(header_nbytes=100)  # pyright: ignore[reportCallIssue]
    for file in (
        sound_safetensors(),
        gguf_of({"a": (0, (8192,), bytes(1 << 15))}, {"t": "x" * 99}),
    ):
        layout = layout_of(file, few)
        assert layout.format == "opaque"
        assert layout.warning is not None
        assert "limits.header_nbytes" in layout.warning
