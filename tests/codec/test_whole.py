"""Encoding and decoding whole contents: exact, never worse than raw, in any buffer."""

import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.elements.dtypes import DType
from codec.frames.head import head_nbytes
from tests.codec import tensors

CODECS = ("RAW", "ZSTD", "PLANE", "BITX", "auto")
dtypes = st.sampled_from(list(DType.__members__))


@given(target=st.binary(max_size=3000), base=st.binary(max_size=3000), dtype=dtypes)
@settings(max_examples=300)
@pytest.mark.parametrize("name", CODECS)
def test_any_bytes_come_back_with_any_base(name, target, base, dtype):
    frame = codec.encode(target, dtype=dtype, base=base, codec=name)
    assert codec.decode(frame, base=base).tobytes() == target
    assert len(frame) <= head_nbytes(len(target)) + len(target)


@given(
    target=st.binary(max_size=3000),
    base=st.binary(max_size=3000),
    dtype=st.sampled_from(["BF16", "F16", "F32", "C64"]),
)
@settings(max_examples=300)
def test_any_bytes_come_back_in_contexts(target, base, dtype):
    frame = codec.encode(target, dtype=dtype, base=base, codec="CTX")
    assert codec.decode(frame, base=base).tobytes() == target
    # Small blocks that do not repay their tables are raw, but the tables are there.
    tables_nbytes = int.from_bytes(frame[28:32], "little")
    assert len(frame) <= head_nbytes(len(target)) + len(target) + tables_nbytes


@given(target=st.binary(max_size=3000), dtype=dtypes)
def test_any_bytes_come_back_without_base(target, dtype):
    frame = codec.encode(target, dtype=dtype)
    assert codec.decode(frame).tobytes() == target


FLOATS_IN_CODECS = [
    (name, dtype)
    for name in (*CODECS, "CTX", "SPARSE")
    for dtype in tensors.FLOATS
    if (name, dtype) != ("CTX", "F64")
]


@pytest.mark.parametrize(("name", "dtype"), FLOATS_IN_CODECS)
def test_awkward_floats_come_back_bit_for_bit(name, dtype):
    target = np.tile(tensors.awkward(dtype), 500)
    base = np.roll(target, 3)
    frame = codec.encode(target, dtype=dtype, base=base, codec=name)
    assert codec.decode(frame, base=base).tobytes() == target.tobytes()


@pytest.mark.parametrize("dtype", tensors.FLOATS)
@pytest.mark.parametrize("tail", [0, 1, 5])
def test_weights_of_many_blocks_come_back_on_one_and_many_threads(dtype, tail):
    name = "BITX" if dtype == "F64" else "CTX"
    base, target = tensors.pair(dtype, 3_000_000 // np.dtype(f"u{2}").itemsize)
    raw = target.tobytes() + bytes(range(tail))
    reference = base.tobytes() + bytes(tail)
    one = codec.encode(raw, dtype=dtype, base=reference, codec=name)
    assert one == codec.encode(raw, dtype=dtype, base=reference, codec=name, threads=3)
    assert codec.inspect(one).blocks > 1
    assert codec.decode(one, base=reference, threads=3).tobytes() == raw


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind):
    target = kind(tensors.pair("BF16", 5000)[1].tobytes())
    assert codec.decode(kind(codec.encode(target, dtype="BF16"))).tobytes() == bytes(target)


def test_arrays_and_two_dimensional_tensors_are_taken_as_their_bytes():
    target = tensors.pair("F32", 6000)[1].reshape(60, 100)
    assert codec.decode(codec.encode(target, dtype="F32")).tobytes() == target.tobytes()
    words = array.array("H", range(1000))
    assert codec.decode(codec.encode(words, dtype="U16")).tobytes() == words.tobytes()
    with pytest.raises(ValueError, match="contiguous"):
        codec.encode(target.T, dtype="F32")


@pytest.mark.parametrize("name", ["BITX", "CTX", "SPARSE"])
def test_inputs_are_not_written_to(name):
    base, target = tensors.pair("BF16", 20_000)
    before = base.tobytes(), target.tobytes()
    frame = codec.encode(target, dtype="BF16", base=base, codec=name)
    codec.decode(frame, base=base)
    assert (base.tobytes(), target.tobytes()) == before


@pytest.mark.parametrize("name", ["BITX", "CTX", "SPARSE"])
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_out_is_filled_in_place_however_it_is_aligned(offset, name):
    base, target = tensors.pair("F32", 400_000)
    frame = codec.encode(target, dtype="F32", base=base, codec=name)
    room = bytearray(target.nbytes + 8)
    shifted_base = memoryview(bytes(offset) + base.tobytes())[offset:]
    out = memoryview(room)[offset : offset + target.nbytes]
    codec.decode(frame, base=shifted_base, out=out)
    assert bytes(out) == target.tobytes()
    assert not any(room[:offset])
    assert not any(room[offset + target.nbytes :])


def test_out_of_another_length_or_read_only_is_refused():
    frame = codec.encode(b"abcd", dtype="U8")
    with pytest.raises(ValueError, match="4 are needed"):
        codec.decode(frame, out=bytearray(5))
    with pytest.raises(ValueError, match="read-only"):
        codec.decode(frame, out=b"abcd")


@pytest.fixture(scope="module", params=["BITX", "CTX", "SPARSE"])
def delta(request):
    base, target = tensors.pair("BF16", 1_200_000)
    if request.param == "SPARSE":
        target[100_000:] = base[100_000:]
        target[::500] ^= 1
    raw = target.tobytes() + b"x"
    return raw, base, codec.encode(raw, dtype="BF16", base=base, codec=request.param)


@given(data=st.data())
@settings(max_examples=60)
def test_a_range_equals_that_range_of_the_whole(delta, data):
    raw, base, frame = delta
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, len(raw)))
    assert codec.decode_range(frame, start, stop, base=base) == raw[start:stop]


class Recorder:
    """A range reader that remembers what was asked for."""

    def __init__(self, data):
        self.data = memoryview(data).cast("B")
        self.reads = []

    def __call__(self, start, stop):
        self.reads.append((start, stop))
        return self.data[start:stop]


def test_a_range_reads_only_the_blocks_it_touches():
    base, target = tensors.pair("BF16", 4 << 20)
    encoded = codec.encode(target, dtype="BF16", base=base, codec="BITX")
    frame, reference = Recorder(encoded), Recorder(base)
    start = (3 << 20) - 7
    part = codec.decode_range(frame, start, start + 65536, base=reference)
    assert part == target.tobytes()[start : start + 65536]
    head = codec.FrameHead.parse(encoded)
    blocks = head.block_range(2)[0], head.block_range(3)[1]
    assert frame.reads == [(0, codec.FIXED_NBYTES), (0, head.head_nbytes), blocks]
    assert reference.reads == [head.base_range(2), head.base_range(3)]


def test_a_range_outside_the_content_is_refused():
    frame = codec.encode(bytes(10), dtype="U8")
    assert codec.decode_range(frame, 4, 4) == b""
    for start, stop in ((-1, 3), (5, 4), (0, 11)):
        with pytest.raises(ValueError, match="outside"):
            codec.decode_range(frame, start, stop)


def test_rows_beyond_the_base_are_coded_alone():
    base, target = tensors.pair("BF16", 1_000_000)
    more = tensors.pair("BF16", 700_000, seed=5)[0]
    extended = np.concatenate([target, more])
    frame = codec.encode(extended, dtype="BF16", base=base)
    info = codec.inspect(frame)
    assert info.codec == "CTX"
    assert info.methods == {"PLANE": 2, "CTX": 2}
    assert codec.decode(frame, base=base).tobytes() == extended.tobytes()


def test_auto_takes_the_smallest():
    base, target = tensors.pair("BF16", 300_000)
    unrelated = tensors.pair("BF16", 300_000, seed=9)[0]
    noise = np.random.default_rng(0).bytes(100_000)
    assert codec.inspect(codec.encode(target, dtype="BF16", base=base)).codec == "CTX"
    assert codec.inspect(codec.encode(target, dtype="BF16", base=unrelated)).codec == "PLANE"
    assert codec.inspect(codec.encode(target, dtype="BF16")).codec == "PLANE"
    assert codec.inspect(codec.encode(noise, dtype="U8")).codec == "RAW"
    assert codec.inspect(codec.encode(b"tokens " * 9000, dtype="U8")).codec == "ZSTD"
    best = codec.encode(target, dtype="BF16", base=base, level="best")
    assert len(best) <= len(codec.encode(target, dtype="BF16", base=base))


def test_values_cast_up_from_bf16_cost_no_more_than_they_did():
    narrow = tensors.pair("BF16", 400_000)[0]
    wide = narrow.astype(np.uint32) << 16
    frame = codec.encode(wide, dtype="F32", codec="PLANE")
    assert len(frame) < 1.01 * len(codec.encode(narrow, dtype="BF16", codec="PLANE"))


def test_an_unchanged_tensor_costs_next_to_nothing():
    base = tensors.pair("F32", 1 << 20)[0]
    frame = codec.encode(base, dtype="F32", base=base)
    assert len(frame) < 400


@pytest.mark.parametrize(
    "arguments",
    [
        {"dtype": "F31"},
        {"codec": "LZMA"},
        {"codec": "CTX"},
        {"codec": "BITX"},
        {"codec": "SPARSE"},
        {"level": "9"},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        codec.encode(b"1234", **{"dtype": "U8"} | arguments)


def test_inspect_needs_no_more_than_the_head():
    base, target = tensors.pair("BF16", 700_000)
    frame = codec.encode(target, dtype="BF16", base=base, codec="bitx")
    info = codec.inspect(frame[: codec.FrameHead.measure(frame[: codec.FIXED_NBYTES])])
    assert info == codec.FrameInfo(
        codec="BITX",
        dtype="BF16",
        raw_nbytes=1_400_000,
        stored_nbytes=len(frame),
        head_nbytes=head_nbytes(1_400_000),
        base_nbytes=1_400_000,
        block_nbytes=1 << 20,
        blocks=2,
        methods={"BITX": 2},
        base_dtype="BF16",
    )
