"""SPARSE: what little changed is stored in little, and comes back in every shape."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.elements.dtypes import DType, layout_of
from codec.errors import CorruptFrame
from codec.frames.head import head_nbytes
from codec.sparse.block import pack_sparse, unpack_sparse
from codec.sparse.tables import SparseTables
from tests.codec import tensors

dtypes = st.sampled_from(list(DType.__members__))


def steps(base: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """A copy of which this share of words went up or down by one."""
    rng = np.random.default_rng(seed)
    target = base.copy()
    changed = np.flatnonzero(rng.random(base.size) < share)
    up = rng.random(changed.size) < 0.5
    target[changed] += np.where(up, 1, (1 << 8 * base.itemsize) - 1).astype(base.dtype)
    return target


def entropy_nbytes(share: float, count: int) -> float:
    """Of which words changed, and one bit for every change."""
    bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share) + share
    return float(bits) * count / 8


@given(
    data=st.binary(max_size=3000),
    base_end=st.integers(0, 3000),
    places=st.lists(st.integers(0, 2999), max_size=40),
    dtype=dtypes,
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_come_back(data, base_end, places, dtype):
    target = bytearray(data)
    for at in places:
        if at < len(target):
            target[at] ^= at % 255 + 1
    base = data[:base_end]
    frame = codec.encode(target, dtype=dtype, base=base, codec="SPARSE")
    assert codec.decode(frame, base=base).tobytes() == target
    tables_nbytes = int.from_bytes(frame[28:32], "little")
    assert len(frame) <= head_nbytes(len(target)) + len(target) + tables_nbytes


@pytest.mark.parametrize("dtype", ["U8", "BF16", "F32", "I64", "F64"])
@pytest.mark.parametrize("share", [0.1, 0.01, 0.001])
def test_changes_at_random_take_little_more_than_their_entropy(dtype, share):
    width = layout_of(DType[dtype]).width
    base = np.frombuffer(np.random.default_rng(1).bytes(8_000_000), f"<u{width}")
    target = steps(base, share)
    frame = codec.encode(target, dtype=dtype, base=base, codec="SPARSE")
    real = np.count_nonzero(target != base) / base.size
    index_nbytes = head_nbytes(target.nbytes)
    assert len(frame) - index_nbytes < 1.10 * entropy_nbytes(real, base.size)


def test_rows_that_changed_more_than_others_take_less_than_changes_at_random():
    base = tensors.pair("BF16", 4_000_000)[0]
    rng = np.random.default_rng(3)
    changed = (rng.random((2000, 2000)) < 0.1) & (rng.random((2000, 1)) < 0.1)
    target = base + changed.reshape(-1).astype(np.uint16)
    frame = codec.encode(target, dtype="BF16", base=base, codec="SPARSE")
    rows_nbytes = entropy_nbytes(0.1, changed.size // 10) + entropy_nbytes(0.1, 2000)
    assert len(frame) < 1.10 * rows_nbytes
    assert len(frame) < 0.7 * entropy_nbytes(changed.mean(), changed.size)


def test_rounded_weights_of_which_the_small_ones_changed_take_a_third_of_other_deltas():
    rng = np.random.default_rng(4)
    weights = rng.standard_normal(2_000_000) * 0.02
    moved = weights + rng.laplace(size=weights.size) * 1e-7
    base, target = (tensors.floats(values, "BF16") for values in (weights, moved))
    frame = codec.encode(target, dtype="BF16", base=base)
    info = codec.inspect(frame)
    assert info.codec == "SPARSE"
    others = [codec.encode(target, dtype="BF16", base=base, codec=name) for name in ("BITX", "CTX")]
    assert len(frame) < 0.7 * min(map(len, others))
    tables = SparseTables.load(codec.FrameHead.parse(frame).tables, 2)
    assert tables.classes > 1


def test_a_block_that_did_not_change_is_one_byte():
    base = tensors.pair("F32", 3 << 18)[0]
    target = base.copy()
    target[0] += 1
    head = codec.FrameHead.parse(codec.encode(target, dtype="F32", base=base, codec="SPARSE"))
    assert [head.block(index).stored_nbytes for index in (1, 2)] == [1, 1]


def test_blocks_that_changed_altogether_are_coded_otherwise():
    base, near = tensors.pair("BF16", 2 << 20)
    target = np.concatenate([base[: 1 << 20], near[1 << 20 :]])
    target[5] += 1
    frame = codec.encode(target, dtype="BF16", base=base, codec="SPARSE")
    assert codec.inspect(frame).methods == {"BITX": 2, "SPARSE": 2}
    assert codec.decode(frame, base=base).tobytes() == target.tobytes()


@pytest.mark.parametrize("share", [0.1, 0.01, 0.001, 0.0001])
def test_auto_takes_the_smallest_where_little_changed(share):
    base = tensors.pair("BF16", 2_000_000)[0]
    target = steps(base, share)
    lengths = {
        name: len(codec.encode(target, dtype="BF16", base=base, codec=name))
        for name in ("BITX", "CTX", "SPARSE", "auto")
    }
    assert lengths["auto"] == lengths["SPARSE"] == min(lengths.values())


def test_a_frame_is_made_block_by_block_with_tables_of_a_sample():
    base = tensors.pair("F32", 3_000_000)[0]
    target = steps(base, 0.002)
    raw, below = target.view(np.uint8), base.view(np.uint8)
    name, tables = codec.choose_delta(
        lambda start, stop: raw[start:stop],
        lambda start, stop: below[start:stop],
        words=codec.Words.named("F32", None, "F32"),
        raw_nbytes=raw.size,
        base_nbytes=below.size,
    )
    assert name == "SPARSE"
    encoder = codec.FrameEncoder(dtype="F32", raw_nbytes=raw.size, codec=name, tables=tables)
    blocks = [
        encoder.encode_block(
            index, raw[slice(*encoder.raw_range(index))], below[slice(*encoder.base_range(index))]
        )
        for index in range(encoder.block_count)
    ]
    frame = b"".join([encoder.finish(), *blocks])
    assert codec.decode(frame, base=base).tobytes() == target.tobytes()
    assert len(frame) < 1.02 * len(codec.encode(target, dtype="F32", base=base, codec="SPARSE"))


def test_a_delta_of_which_all_changed_is_not_sparse():
    base, target = tensors.pair("BF16", 2_000_000)
    words = codec.Words.named("BF16", None, "BF16")
    lengths = {"raw_nbytes": target.nbytes, "base_nbytes": base.nbytes}
    name, tables = codec.choose_delta(target, base, words=words, **lengths)
    assert (name, tables) == ("CTX", codec.tables_for(target, base, words=words, **lengths))


@cache
def packed_blocks() -> list[tuple[str, bytes, bytes, bytes]]:
    """Of several dtypes base, tables and stored bytes of a block of 1,603 bytes."""
    found = []
    for seed, dtype in enumerate(("U8", "BF16", "F32", "F64")):
        rng = np.random.default_rng(seed)
        base = np.frombuffer(rng.bytes(1603), np.uint8)
        target = base.copy()
        target[rng.integers(0, 1603, 30)] ^= 5
        tables = codec.train_sparse([(target, base)], dtype=dtype, raw_nbytes=1 << 20)
        stored = pack_sparse(layout_of(DType[dtype]), target, base, tables)
        assert stored is not None
        found.append((dtype, base.tobytes(), tables, stored))
    return found


@given(data=st.data())
@settings(max_examples=2000, deadline=None)
def test_altered_blocks_are_refused_or_decode_within_bounds(data):
    dtype, base, *parts = data.draw(st.sampled_from(packed_blocks()))
    tables, stored = map(bytearray, parts)
    for _ in range(data.draw(st.integers(1, 5))):
        part = tables if data.draw(st.booleans()) else stored
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del stored[data.draw(st.integers(0, len(stored))) :]
    room = np.full(1603 + 64, 77, np.uint8)
    try:
        block, below = (np.frombuffer(part, np.uint8) for part in (stored, base))
        unpack_sparse(layout_of(DType[dtype]), block, below, bytes(tables), room[32 : 32 + 1603])
    except CorruptFrame:
        pass
    assert np.all(room[:32] == 77)
    assert np.all(room[32 + 1603 :] == 77)


TABLES = codec.train_sparse([(b"\1" * 64, b"\0" * 64)], dtype="BF16")
BROKEN = {
    "nothing": b"",
    "no class": b"\0" + TABLES[1:],
    "too many classes": b"\x09" + TABLES[1:],
    "no gap table": TABLES[:1] + b"\0" + TABLES[2:],
    "too many gap tables": TABLES[:1] + b"\x18" + TABLES[2:],
    "contexts beyond the last": TABLES[:2] + b"\x18" + TABLES[3:],
    "contexts that end early": TABLES[:2] + b"\x05" + TABLES[3:],
    "symbol beyond the alphabet": TABLES[:3] + b"\xfc\xfc\xfc" + TABLES[6:],
    "implied symbol before the first": TABLES[:3] + b"\x05\x08\x03" + TABLES[6:],
    "an end": TABLES[:-1],
    "more": TABLES + b"\0",
    "limits in disorder": b"\x03\x05\0\x04\0" + TABLES[1:] * 3,
    "a limit of zero": b"\x02\0\0" + TABLES[1:] * 2,
    "a limit beyond all magnitudes": b"\x02\0\x80" + TABLES[1:] * 2,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused(name):
    with pytest.raises(CorruptFrame):
        SparseTables.load(BROKEN[name], 2)
    with pytest.raises(CorruptFrame):
        codec.FrameEncoder(dtype="BF16", raw_nbytes=10, codec="SPARSE", tables=BROKEN[name] or b"x")


@pytest.mark.parametrize("dtype", ["U8", "BF16", "F64"])
def test_tables_are_stored_and_loaded_alike(dtype):
    width = layout_of(DType[dtype]).width
    rng = np.random.default_rng(6)
    base = np.frombuffer(rng.bytes(400_000), f"<u{width}")
    target = steps(base, 0.03)
    target[::97] ^= np.frombuffer(rng.bytes(base.nbytes), base.dtype)[::97]
    stored = codec.train_sparse([(target, base)], dtype=dtype)
    tables = SparseTables.load(stored, width)
    assert tables.store() == stored
    assert np.all(tables.frequencies.sum(axis=1) == 2048)
