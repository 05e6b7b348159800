"""The GGUF header walk against sound files of a tiny writer, hostile ones and mutants."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.formats import gguf
from app.formats.ggml import GGML_TYPES
from app.formats.segments import Doubt, HeaderLimits, Layout, NeedMore
from tests.fixtures.files import gguf_header, gguf_info, gguf_of, gguf_pair, gguf_string

LIMITS = HeaderLimits(header_nbytes=25_000_000, tensors=262_144)
F32, F16, Q4_0, BF16 = 0, 1, 2, 30


def parse(file: bytes, limits: HeaderLimits = LIMITS) -> Layout:
    layout = gguf.parse(file, len(file), limits)
    assert isinstance(layout, Layout)
    position = 0
    for segment in layout.segments:
        assert segment.start == position
        assert segment.nbytes > 0
        position += segment.nbytes
    assert position == len(file)
    return layout


def one_tensor(
    *pairs: bytes,
    dims: tuple[int, ...] = (8,),
    kind: int = F32,
    offset: int = 0,
    name: str | bytes = "a",
    data: bytes = bytes(32),
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    infos = [gguf_info(name, dims, kind, offset)]
    head = gguf_header(pairs, infos, version=version, counts=counts)
    return head + bytes(-len(head) % 32) + data


def test_every_tensor_is_a_segment_and_padding_is_literal():
    raw = {"w": bytes(range(24)), "q": bytes(36), "b": b"\x01\x02" * 3}
    file = gguf_of(
        {"w": (F32, (3, 2), raw["w"]), "q": (Q4_0, (32, 2), raw["q"]), "b": (BF16, (3,), raw["b"])},
        {"tokenizer.ggml.tokens": [f"token {i}" for i in range(1000)], "n": 3},
    )
    layout = parse(file)
    found = {s.name: s for s in layout.segments if s.role == "tensor"}
    assert {name: file[s.start :][: s.nbytes] for name, s in found.items()} == raw
    assert found["w"].shape == (2, 3)
    assert [s.dtype for s in found.values()] == ["F32", "Q4_0", "BF16"]
    assert all(s.nbytes < 32 for s in layout.segments[1:] if s.role == "literal")


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_with_wide_lengths_are_read(version: int):
    assert parse(gguf_of({"a": (F16, (4,), bytes(8))}, version=version)).format == "gguf"


def test_alignment_is_the_files_own():
    file = gguf_of(
        {"a": (F32, (2,), bytes(8)), "b": (F32, (2,), bytes(8))}, {"general.alignment": 8}
    )
    assert [s.role for s in parse(file).segments] == ["literal", "tensor", "tensor"]


def test_last_tensor_may_end_the_file_without_padding():
    file = gguf_of({"a": (F16, (3,), b"abcdef")})
    assert parse(file[: -32 + 6]).segments[-1].nbytes == 6


def test_file_without_tensors_is_one_literal():
    file = gguf_header([gguf_pair("general.architecture", "llama")], [])
    (segment,) = parse(file).segments
    assert segment.role == "literal"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "version 1": (one_tensor(version=1), "version is 1"),
    "version 4": (one_tensor(version=4), "version is 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(100), "big-endian"),
    "tensors without end": (one_tensor(counts=(1 << 62, 0)), "limits.tensors_per_file"),
    "pairs without end": (one_tensor(counts=(1, 1 << 60)), "beyond the end"),
    "string without end": (
        one_tensor(gguf_string("k") + struct.pack("<IQ", 8, 1 << 63)),
        "beyond the end",
    ),
    "array without end": (
        one_tensor(gguf_string("k") + struct.pack("<IIQ", 9, 8, 1 << 61)),
        "beyond the end",
    ),
    "numbers without end": (
        one_tensor(gguf_string("k") + struct.pack("<IIQ", 9, 12, (1 << 64) - 1)),
        "beyond the end",
    ),
    "array of arrays": (
        one_tensor(gguf_string("k") + struct.pack("<IIQ", 9, 9, 1)),
        "array of value type 9",
    ),
    "value of unknown type": (one_tensor(gguf_string("k") + struct.pack("<I", 13)), "type 13"),
    "duplicate key": (one_tensor(gguf_pair("k", 1), gguf_pair("k", 2)), "twice"),
    "alignment 0": (one_tensor(gguf_pair("general.alignment", 0)), "alignment is 0"),
    "alignment 48": (one_tensor(gguf_pair("general.alignment", 48)), "alignment is 48"),
    "alignment is text": (one_tensor(gguf_pair("general.alignment", "32")), "not a uint32"),
    "unknown ggml type": (one_tensor(kind=4), "unknown ggml type 4"),
    "five dimensions": (one_tensor(dims=(1, 1, 1, 1, 8)), "5 dimensions"),
    "shape overflows": (one_tensor(dims=(1 << 40, 1 << 40)), "63 bits"),
    "shape beyond the file": (one_tensor(dims=(1 << 30,)), "beyond the end"),
    "half a block": (one_tensor(kind=Q4_0, dims=(16, 2)), "whole blocks"),
    "not aligned": (one_tensor(dims=(4,), offset=16), "not aligned"),
    "offset without end": (one_tensor(offset=1 << 63), "leaves a hole"),
    "hole": (one_tensor(offset=64, data=bytes(96)), "leaves a hole"),
    "trailing bytes": (one_tensor(data=bytes(64)), "32 trailing bytes"),
    "data cut off": (one_tensor(data=bytes(31)), "beyond the end"),
    "name is not UTF-8": (one_tensor(name=b"\xff"), "not UTF-8"),
    "NUL in name": (one_tensor(name="a\0b"), "NUL"),
    "long name": (one_tensor(name="n" * 1025), "longer than 1024"),
    "two tensors of one name": (
        gguf_header([], [gguf_info("a", (8,), F32, 0), gguf_info("a", (8,), F32, 32)]) + bytes(128),
        "one name",
    ),
    "two tensors in one place": (
        gguf_header([], [gguf_info("a", (8,), F32, 0), gguf_info("b", (8,), F32, 0)]) + bytes(64),
        "overlaps",
    ),
    "header cut off": (one_tensor()[:40], "beyond the end"),
    "only the magic": (b"GGUF", "beyond the end"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header_is_doubted_and_the_fault_named(name: str):
    file, fault = HOSTILE[name]
    with pytest.raises(Doubt) as doubt:
        parse(file)
    assert fault in doubt.value.fault


def test_long_header_is_doubted_with_the_name_of_the_limit():
    file = gguf_of({"a": (F32, (8,), bytes(32))}, {"tokens": ["x" * 10] * 1000})
    with pytest.raises(Doubt, match=r"limits\.header_nbytes"):
        parse(file, HeaderLimits(header_nbytes=10_000, tensors=10))


@settings(deadline=None)
@given(st.integers(1, 400))
def test_prefix_of_any_length_is_enough_or_asks_for_more(step: int):
    file = gguf_of({"a": (F32, (8,), bytes(32))}, {"tokens": ["ab", "c"] * 20, "n": 1, "t": "u"})
    nbytes, answers = step, 0
    while isinstance(answer := gguf.parse(file[:nbytes], len(file), LIMITS), NeedMore):
        assert nbytes < answer.nbytes <= len(file)
        nbytes = answer.nbytes
        answers += 1
        assert answers < 20
    assert answer == parse(file)


sizes = st.sampled_from([0, 1, 2, 30, 24])


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abc.0", min_size=1, max_size=6), st.tuples(sizes, st.integers(0, 50))),
    st.sampled_from([8, 32, 64]),
    st.randoms(use_true_random=False),
)
def test_any_sound_file_is_covered_and_gives_its_tensors(
    named: dict[str, tuple[int, int]], alignment: int, rng: random.Random
):
    tensors = {}
    for name, (kind, count) in named.items():
        _, block, block_nbytes = GGML_TYPES[kind]
        tensors[name] = (kind, (count * block,), rng.randbytes(count * block_nbytes))
    file = gguf_of(tensors, {"general.alignment": alignment})
    found = {s.name: s for s in parse(file).segments if s.role == "tensor"}
    assert found.keys() == {name for name, (_, _, raw) in tensors.items() if raw}
    for name, segment in found.items():
        assert file[segment.start :][: segment.nbytes] == tensors[str(name)][2]


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_read_or_doubted_and_nothing_else(seed: int):
    rng = random.Random(seed)
    sound = gguf_of(
        {"a": (F32, (8,), bytes(32)), "b": (Q4_0, (32, 2), bytes(36))},
        {"tokens": ["ab", "c"] * 5, "n": 1, "t": "text"},
    )
    pool = [file for file, _ in HOSTILE.values()]
    accepted = 0
    for _ in range(10_000):
        mutant = bytearray(rng.choice((sound, rng.choice(pool))))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(4, len(mutant) + 1)
            width = rng.choice((1, 1, 4, 8))
            value = rng.choice((0, 1, rng.randrange(256), (1 << (8 * width)) - 1))
            mutant[at : at + width] = value.to_bytes(width, "little")
        if rng.random() < 0.2:
            del mutant[rng.randrange(4, len(mutant) + 1) :]
        try:
            answer = gguf.parse(bytes(mutant), len(mutant), LIMITS)
        except Doubt:
            continue
        assert isinstance(answer, Layout)
        assert sum(s.nbytes for s in answer.segments) == len(mutant)
        accepted += 1
    assert accepted > 100
