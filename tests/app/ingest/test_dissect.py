"""Segments and digests do not depend on how the bytes are fed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.digest import content_id_of, piece_checks
from app.ingest.dissect import LITERAL_NBYTES, Dissector
from app.ingest.files import Dissection
from app.settings import Limits
from tests.fixtures.files import gguf_of, safetensors_of

RNG = random.Random(4)
LIMITS = Limits()  # pyright: ignore[reportCallIssue]
FILES = {
    "safetensors": safetensors_of(
        {"a": ("F32", [700, 1000], RNG.randbytes(2_800_000)), "b": ("U8", [3], b"abc")}
    ),
    "many tensors": safetensors_of({f"t{i}": ("U8", [i], bytes(i)) for i in range(900)}),
    "gguf": gguf_of(
        {"a": (0, (700, 100), RNG.randbytes(280_000)), "b": (30, (3,), b"abcdef")},
        {"tokens": ["token"] * 30_000},
    ),
    "opaque": RNG.randbytes(5_000_000),
    "short": RNG.randbytes(LITERAL_NBYTES),
}


def dissect(data: bytes, step: int, nbytes: int | None) -> Dissection:
    dissector = Dissector(nbytes, LIMITS)
    view = memoryview(data)
    for start in range(0, len(data), step):
        dissector.feed(view[start : start + step])
    return dissector.finish()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("known", [True, False])
@settings(deadline=None, max_examples=20)
@given(st.integers(20_000, 6_000_000))
def test_segments_cover_the_file_and_carry_its_digests(name: str, known: bool, step: int):
    data = FILES[name]
    dissection = dissect(data, step, len(data) if known else None)
    assert dissection == dissect(data, len(data), len(data) if known else None)
    position = 0
    for part in dissection.segments:
        raw = data[part.segment.start : part.segment.start + part.segment.nbytes]
        assert part.segment.start == position
        assert (part.digest, part.checks) == (content_id_of(raw), piece_checks(raw))
        position += len(raw)
    assert position == len(data)


def test_size_decides_what_is_looked_into():
    assert dissect(FILES["gguf"], 10_000, len(FILES["gguf"])).format == "gguf"
    assert dissect(FILES["gguf"], 10_000, None).format == "opaque"
    assert len(dissect(FILES["short"], 10_000, None).segments) == 1
    assert len(dissect(FILES["short"], 10_000, LITERAL_NBYTES).segments) == 1
    assert dissect(b"", 1, 0).segments == ()
