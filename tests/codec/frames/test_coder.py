"""The streaming surface: frames made and read block by block, never whole."""

import numpy as np
import pytest

import codec
from codec.frames.head import Method
from tests.codec import tensors


def encode_streamed(target: bytes, base: bytes | None, name: str, order) -> bytes:
    encoder = codec.FrameEncoder(
        dtype="BF16",
        raw_nbytes=len(target),
        codec=name,
        base_nbytes=None if base is None else len(base),
        block_log2=12,
        tables=codec.train([(target, base)], dtype="BF16") if name == "CTX" and base else b"",
    )
    blocks = {}
    for index in order(range(encoder.block_count)):
        start, stop = encoder.raw_range(index)
        first, last = encoder.base_range(index)
        part = None if base is None else base[first:last]
        blocks[index] = encoder.encode_block(index, target[start:stop], part)
    head = encoder.finish()
    assert len(head) == encoder.head_nbytes
    return head + b"".join(blocks[index] for index in range(encoder.block_count))


@pytest.mark.parametrize("order", [list, reversed])
@pytest.mark.parametrize("name", ["RAW", "ZSTD", "PLANE", "BITX", "CTX"])
def test_blocks_made_in_any_order_make_the_same_frame(name, order):
    base, target = (words.tobytes() for words in tensors.pair("BF16", 9001))
    frame = encode_streamed(target, base if name in ("BITX", "CTX") else None, name, order)
    assert frame == encode_streamed(target, base if name in ("BITX", "CTX") else None, name, list)
    assert codec.decode(frame, base=base).tobytes() == target


@pytest.mark.parametrize("name", ["BITX", "CTX"])
def test_blocks_decode_on_their_own(name):
    base, target = (words.tobytes() for words in tensors.pair("BF16", 9001))
    frame = encode_streamed(target, base, name, list)
    head = codec.FrameHead.parse(frame[: codec.FrameHead.measure(frame[: codec.FIXED_NBYTES])])
    for index in head.blocks_for(5000, 9000):
        first, last = head.block_range(index)
        start, stop = head.raw_range(index)
        out = bytearray(stop - start)
        part = base[slice(*head.base_range(index))]
        decoded = codec.decode_block(head, index, frame[first:last], part, out=out)
        assert decoded.tobytes() == bytes(out) == target[start:stop]
    assert list(head.blocks_for(4095, 4097)) == [0, 1]
    assert list(head.blocks_for(4096, 4096)) == []


def test_blocks_encoded_elsewhere_can_be_joined():
    target = tensors.pair("BF16", 4000)[0].tobytes()
    encoders = [
        codec.FrameEncoder(dtype="BF16", raw_nbytes=8000, codec="PLANE", block_log2=12)
        for _ in range(2)
    ]
    blocks = [
        encoders[index].encode_block(index, target[slice(*encoders[index].raw_range(index))])
        for index in range(2)
    ]
    head = encoders[0].finish([encoders[index].block_info(index) for index in range(2)])
    assert codec.decode(head + b"".join(blocks)).tobytes() == target


def test_a_frame_with_a_block_missing_is_not_finished():
    encoder = codec.FrameEncoder(dtype="U8", raw_nbytes=10_000, codec="RAW", block_log2=12)
    encoder.encode_block(0, bytes(4096))
    with pytest.raises(ValueError, match="block 1"):
        encoder.finish()
    with pytest.raises(ValueError, match="3 blocks"):
        encoder.finish([encoder.block_info(0)])


def test_buffers_of_the_wrong_length_are_refused():
    encoder = codec.FrameEncoder(dtype="U8", raw_nbytes=100, codec="BITX", base_nbytes=50)
    with pytest.raises(ValueError, match="100 bytes"):
        encoder.encode_block(0, bytes(99), bytes(50))
    with pytest.raises(ValueError, match="50 bytes of the base"):
        encoder.encode_block(0, bytes(100), bytes(100))
    for arguments in ({"raw_nbytes": -1}, {"raw_nbytes": 1 << 41}, {"block_log2": 11}):
        with pytest.raises(ValueError):
            codec.FrameEncoder(**{"dtype": "U8", "raw_nbytes": 1, "codec": "RAW"} | arguments)


def test_incompressible_blocks_stay_raw_among_coded_ones():
    noise = np.random.default_rng(0).bytes(4096)
    calm = tensors.pair("BF16", 2048)[0].tobytes()
    frame = encode_streamed(calm + noise, None, "PLANE", list)
    head = codec.FrameHead.parse(frame)
    assert [head.block(index).method for index in range(2)] == [Method.PLANE, Method.RAW]
    assert head.block(1).stored_nbytes == 4096


def test_a_block_that_needs_no_base_asks_for_none():
    base, target = (words.tobytes() for words in tensors.pair("BF16", 4096))
    other = tensors.pair("BF16", 2048, seed=3)[0].tobytes()
    frame = encode_streamed(target[:4096] + other, base, "BITX", list)
    head = codec.FrameHead.parse(frame)
    assert head.base_range(0) == (0, 4096)
    assert head.base_range(1) == (0, 0)
    codec.decode_block(head, 1, frame[slice(*head.block_range(1))])


def test_stored_blocks_are_verified_without_their_base():
    base, target = (words.tobytes() for words in tensors.pair("BF16", 2048))
    frame = encode_streamed(target, base, "BITX", list)
    head = codec.FrameHead.parse(frame)
    stored = bytearray(frame[slice(*head.block_range(0))])
    codec.verify_block(head, 0, stored)
    stored[7] ^= 1
    with pytest.raises(codec.CorruptFrame):
        codec.verify_block(head, 0, stored)


def test_tables_made_from_one_part_code_any_other():
    base, target = tensors.pair("F32", 300_000, drift=1e-6)
    strange = tensors.pair("F32", 300_000, drift=1e3, seed=8)[1]
    tables = codec.train([(target[:5000], base[:5000])], dtype="F32", raw_nbytes=target.nbytes)
    for content in (target, strange, base):
        encoder = codec.FrameEncoder(
            dtype="F32", raw_nbytes=content.nbytes, codec="CTX", tables=tables
        )
        raw, below = content.view(np.uint8), base.view(np.uint8)
        blocks = [
            encoder.encode_block(
                index,
                raw[slice(*encoder.raw_range(index))],
                below[slice(*encoder.base_range(index))],
            )
            for index in range(encoder.block_count)
        ]
        head = encoder.finish()
        assert len(head) == encoder.head_nbytes
        assert codec.decode(b"".join([head, *blocks]), base=base).tobytes() == content.tobytes()


def test_training_ranges_are_disjoint_and_begin_with_groups():
    for nbytes in (0, 3, 4096, 4 << 20, (4 << 20) + 4, 123_456_789, 20 << 30):
        ranges = codec.training_ranges(nbytes, dtype="F32")
        ends = [0, *(stop for _, stop in ranges)]
        assert all(end <= start < stop for end, (start, stop) in zip(ends, ranges, strict=False))
        assert all(start % 1024 == 0 and stop % 4 == 0 for start, stop in ranges)
        assert sum(stop - start for start, stop in ranges) == min(nbytes - nbytes % 4, 4 << 20)
        assert 0 <= nbytes - ends[-1] < 1024


def test_tables_that_do_not_fit_are_refused():
    base, target = tensors.pair("BF16", 2000)
    tables = codec.train([(target, base)], dtype="BF16")
    wrong = (
        {"codec": "BITX", "tables": tables},
        {"codec": "CTX"},
        {"codec": "CTX", "tables": tables, "dtype": "U8"},
    )
    for arguments in wrong:
        with pytest.raises(ValueError):
            codec.FrameEncoder(**{"dtype": "BF16", "raw_nbytes": 4000} | arguments)
    with pytest.raises(codec.CorruptFrame):
        codec.FrameEncoder(dtype="BF16", raw_nbytes=4000, codec="CTX", tables=tables[:-1])
    with pytest.raises(ValueError, match="does not code"):
        codec.train([(target, base)], dtype="I16")
    with pytest.raises(ValueError, match="length"):
        codec.train([(target, base[1:])], dtype="BF16")
