"""The strict header parser against hostile files, and against the library itself."""

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from app.formats import safetensors as parser
from app.formats.segments import Doubt, HeaderLimits, Layout
from tests.app.formats.hostile_headers import DATA, HOSTILE, ODD_BUT_SOUND, header, tensor
from tests.fixtures.files import safetensors_file, safetensors_of

LIMITS = HeaderLimits(header_nbytes=25_000_000, tensors=262_144)


def parse(file: bytes) -> Layout:
    layout = parser.parse(file, len(file), LIMITS)
    position = 0
    for segment in layout.segments:
        assert segment.start == position
        assert segment.nbytes > 0
        position += segment.nbytes
    assert position == len(file)
    return layout


def library_accepts(file: bytes) -> bool:
    try:
        deserialize(file)
    except SafetensorError:
        return False
    return True


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header_is_doubted_and_the_fault_named(name: str):
    file, fault = HOSTILE[name]
    with pytest.raises(Doubt) as doubt:
        parse(file)
    assert fault in doubt.value.fault
    assert doubt.value.fault.isascii()
    assert len(doubt.value.fault) < 300


@pytest.mark.parametrize("name", ODD_BUT_SOUND)
def test_odd_but_sound_header_is_read_as_the_library_reads_it(name: str):
    file = ODD_BUT_SOUND[name]
    ours = {
        segment.name: file[segment.start : segment.start + segment.nbytes]
        for segment in parse(file).segments
        if segment.role == "tensor"
    }
    theirs = {name: bytes(info["data"]) for name, info in deserialize(file) if info["data"]}
    assert ours == theirs


def test_unknown_dtype_keeps_its_bytes_by_offsets_alone():
    (_, segment) = parse(header(tensor(dtype='"I4_BLOCK"', shape="[3,3]"))).segments
    assert (segment.dtype, segment.nbytes) == ("I4_BLOCK", 4)


def test_real_file_gives_every_tensor_with_its_name_dtype_and_shape(tmp_path: Path):
    arrays = {
        "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "bias": np.zeros(3, np.float16),
        "empty": np.zeros((0, 7), np.float32),
        "step": np.array(7, np.int64),
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    file = path.read_bytes()
    found = {s.name: s for s in parse(file).segments if s.role == "tensor"}
    assert found.keys() == {"weight", "bias", "step"}
    for name, segment in found.items():
        assert segment.shape == arrays[str(name)].shape
        assert file[segment.start :][: segment.nbytes] == arrays[str(name)].tobytes()
    assert {s.dtype for s in found.values()} == {"F32", "F16", "I64"}


def test_name_rank_and_count_have_limits():
    parse(header(tensor(name="n" * 1024)))
    with pytest.raises(Doubt, match="longer than 1024 bytes"):
        parse(header(tensor(name="é" * 513)))
    parse(header(tensor(shape="[4" + ",1" * 15 + "]")))
    with pytest.raises(Doubt, match="17 dimensions"):
        parse(header(tensor(shape="[4" + ",1" * 16 + "]")))
    file = header(tensor(), tensor("b", shape="[0]", offsets="[4,4]"))
    with pytest.raises(Doubt, match=r"limits\.tensors_per_file"):
        parser.parse(file, len(file), HeaderLimits(header_nbytes=1000, tensors=1))
    with pytest.raises(Doubt, match=r"limits\.header_nbytes"):
        parser.parse(file, len(file), HeaderLimits(header_nbytes=10, tensors=2))


tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(
        st.sampled_from([dtype for dtype, bits in parser.DTYPE_BITS.items() if bits >= 8]),
        st.lists(st.integers(0, 5), max_size=3),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(tensors, st.randoms(use_true_random=False))
def test_any_sound_file_is_covered_and_agrees_with_the_library(
    named: dict[str, tuple[str, list[int]]], rng: random.Random
):
    filled = {
        name: (dtype, shape, rng.randbytes(int(np.prod(shape)) * parser.DTYPE_BITS[dtype] // 8))
        for name, (dtype, shape) in named.items()
    }
    file = safetensors_of(filled)
    segments = {s.name: s for s in parse(file).segments if s.role == "tensor"}
    theirs = {name: info for name, info in deserialize(file) if info["data"]}
    assert segments.keys() == theirs.keys()
    for name, segment in segments.items():
        info = theirs[str(name)]
        assert (segment.dtype, list(segment.shape or ())) == (info["dtype"], info["shape"])
        assert file[segment.start :][: segment.nbytes] == bytes(info["data"])


INSERTS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"9" * 20, b"\xff", b"null", b"1e3"),
    *(b"NaN", b"\\u0000", b"\\ud800", b'"a":', b"true", b" ", b"\n", b".0"),
)


def mutate(file: bytes, rng: random.Random) -> bytes:
    mutant = bytearray(file)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(mutant) + 1)
        match rng.randrange(6):
            case 0 if at < len(mutant):
                mutant[at] = rng.randrange(256)
            case 1:
                del mutant[at : at + rng.randrange(1, 9)]
            case 2:
                mutant[at:at] = rng.choice(INSERTS)
            case 3:
                lengths = (0, 1, 2, 2**63, 2**64 - 1, len(mutant), max(len(mutant) - 8, 0))
                mutant[:8] = struct.pack("<Q", rng.choice(lengths))
            case 4:
                start = rng.randrange(len(mutant) + 1)
                mutant[at:at] = mutant[start : start + 40]
            case _:
                del mutant[at:]
    if rng.random() < 0.5 and len(mutant) > 8:  # keep the length honest, to get past it
        nbytes = int.from_bytes(file[:8], "little") + len(mutant) - len(file)
        mutant[:8] = struct.pack("<Q", min(max(nbytes, 0), 1 << 20))
    return bytes(mutant)


@pytest.mark.parametrize("seed", range(4))
def test_no_mutant_is_accepted_that_the_library_rejects(seed: int):
    rng = random.Random(seed)
    pool = [file for file, _ in HOSTILE.values() if len(file) < 1000]
    sound = [*ODD_BUT_SOUND.values(), safetensors_file("{" + tensor() + "}", DATA)]
    accepted = 0
    for _ in range(10_000):
        mutant = mutate(rng.choice(rng.choice((pool, sound, sound))), rng)
        try:
            parse(mutant)
        except Doubt:
            continue
        accepted += 1
        # A dtype that the library does not know (yet) is the one thing we are laxer about.
        header_stop = 8 + int.from_bytes(mutant[:8], "little")
        entries = json.loads(mutant[8:header_stop])
        dtypes = {entry["dtype"] for name, entry in entries.items() if name != "__metadata__"}
        assert dtypes - parser.DTYPE_BITS.keys() or library_accepts(mutant), mutant
    assert accepted > 100
