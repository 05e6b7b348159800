"""Frames of every version, codec and dtype that were ever written decode for ever."""

from pathlib import Path

import numpy as np
import pytest

import codec
from codec.context.alphabet import Alphabet
from codec.context.slots import load_tables
from codec.elements.dtypes import DType, layout_of
from codec.frames.head import Method
from codec.plane.streams import Coding
from tests.codec import independent_reader
from tests.codec.make_golden import COARSE, MOVED, SIGN_DTYPES

GOLDEN = Path(__file__).parent / "golden"
FRAMES = sorted(GOLDEN.glob("*/*/*.frame"))


def read_case(path: Path) -> tuple[bytes, bytes, bytes]:
    return tuple((path.parent / name).read_bytes() for name in (path.name, "target", "base"))


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_frame_decodes(path):
    frame, target, base = read_case(path)
    assert codec.decode(frame, base=base).tobytes() == target
    assert codec.inspect(frame).codec == path.stem.upper()


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_reader_written_from_the_format_page_agrees(path):
    frame, target, base = read_case(path)
    assert independent_reader.read(frame, base) == target


def test_every_codec_and_dtype_has_a_golden_frame():
    names = {(path.parent.name, path.stem) for path in FRAMES}
    assert names >= {(d, c) for d in DType.__members__ for c in ("raw", "zstd", "plane", "bitx")}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "C64", "blocks", "mixture"])
def test_context_frames_have_golden_ones_too(dtype):
    info = codec.inspect((GOLDEN / "v1" / dtype / "ctx.frame").read_bytes())
    assert info.methods["CTX"] > 0


@pytest.mark.parametrize(("dtype", "step"), COARSE.items())
def test_tables_of_busy_contexts_have_golden_frames(dtype, step):
    head = codec.FrameHead.parse((GOLDEN / "v1" / f"busy-{dtype}" / "ctx.frame").read_bytes())
    alphabet = Alphabet(layout_of(head.words.coded).width, has_signs=False)
    frequencies = load_tables(head.tables, alphabet)
    assert np.gcd.reduce(frequencies, axis=None) == step


@pytest.mark.parametrize("case", [*SIGN_DTYPES, "busy-BF16", "heavy-BF16"])
def test_alphabets_of_both_kinds_have_golden_frames(case):
    head = codec.FrameHead.parse((GOLDEN / "v1" / f"signs-{case}" / "ctx.frame").read_bytes())
    assert {head.block(index).method for index in range(head.block_count)} == {Method.CTX16}
    before = codec.FrameHead.parse((GOLDEN / "v1" / "BF16" / "ctx.frame").read_bytes())
    assert before.codec is Method.CTX


@pytest.mark.parametrize("dtype", ["U8", "F8_E4M3", "I16", "BF16", "F16", "F32", "I64", "F64"])
def test_sparse_frames_of_every_width_have_golden_ones(dtype):
    info = codec.inspect((GOLDEN / "v1" / f"sparse-{dtype}" / "sparse.frame").read_bytes())
    assert info.methods["SPARSE"] > 1


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F64", "F8_E4M3"])
def test_planes_in_rans_have_golden_frames(dtype):
    frame = (GOLDEN / "v1" / f"planes-{dtype}" / "plane.frame").read_bytes()
    first, _ = codec.FrameHead.parse(frame).block_range(0)
    assert Coding(frame[first]) is Coding.RANS


@pytest.mark.parametrize("case", MOVED)
@pytest.mark.parametrize("name", ["bitx", "ctx", "sparse"])
def test_bases_that_move_have_golden_frames(case, name):
    info = codec.inspect((GOLDEN / "v1" / f"moved-{case}" / f"{name}.frame").read_bytes())
    assert info.rank == 5
    assert info.methods[name.upper()] > 0
