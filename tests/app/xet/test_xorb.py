"""The xorb format: honest xorbs are read chunk by chunk, hostile ones are refused cleanly."""

import random
import tracemalloc

import lz4.frame
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import HubError, LimitExceeded
from app.settings import Limits
from app.xet import xorb
from app.xet.xorb import TABLE, XorbInvalid, XorbReader
from tests.fixtures.xorbs import BuiltXorb, build_xorb, chunk_header, group, pack_chunk

LIMITS = Limits()  # pyright: ignore[reportCallIssue]
SCHEMES = [xorb.AS_IS, xorb.LZ4, xorb.GROUPED_LZ4]


def pieces(data: bytes, nbytes: int) -> list[bytes]:
    return [data[start : start + nbytes] for start in range(0, len(data), nbytes)]


def read(digest: bytes, buffers, limits: Limits = LIMITS):
    reader = XorbReader(digest, limits)
    raw = b"".join(reader.read(buffers))
    return raw, np.frombuffer(reader.table(), TABLE)


def sample(scheme: int, nbytes: int = 300_001, seed: int = 1) -> BuiltXorb:
    words = np.random.default_rng(seed).normal(size=nbytes // 4 + 1).astype("<f4")
    return build_xorb(words.tobytes()[:nbytes], scheme)


@given(st.binary(max_size=300))
def test_ungroup_undoes_grouping(plain):
    out = np.empty(len(plain), np.uint8)
    xorb.ungroup(np.frombuffer(group(plain), np.uint8), out)
    assert out.tobytes() == plain


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("buffer_nbytes", [7, 8, 4096, 1 << 20])
def test_honest_xorb_is_read_in_buffers_of_any_size(scheme, buffer_nbytes):
    built = sample(scheme)
    raw, table = read(built.digest, pieces(built.stored, buffer_nbytes))
    assert raw == b"".join(built.chunks)
    assert table["nbytes"].tolist() == [len(chunk) for chunk in built.chunks]
    xorb.check_run(raw, table)
    middle = raw[int(table["offset"][2]) : int(table["offset"][4])]
    assert middle == b"".join(built.chunks[2:4])
    xorb.check_run(middle, table[2:4])


def test_footer_of_older_clients_is_cut_off():
    built = sample(xorb.LZ4)
    footer = b"XETBLOB" + random.Random(0).randbytes(5_000)
    for nbytes in (3, 100, 1 << 20):
        raw, _ = read(built.digest, pieces(built.stored + footer, nbytes))
        assert raw == b"".join(built.chunks)


def test_another_xorb_under_the_announced_digest_is_refused():
    honest, other = sample(xorb.LZ4, seed=1), sample(xorb.LZ4, seed=2)
    with pytest.raises(XorbInvalid, match="announced"):
        read(honest.digest, [other.stored])
    with pytest.raises(XorbInvalid, match="announced"):
        read(honest.digest, [])


HOSTILE_CHUNKS = {
    "unknown version": chunk_header(10, 0, 10, version=1) + bytes(10),
    "unknown scheme": chunk_header(10, 3, 10) + bytes(10),
    "empty chunk": chunk_header(0, 0, 0),
    "raw length beyond the format": chunk_header(10, 1, (128 << 10) + 1) + bytes(10),
    "stored length beyond the format": chunk_header((256 << 10) + 1, 0, 100),
    "two lengths uncompressed": chunk_header(10, 0, 11) + bytes(10),
    "not an LZ4 frame": chunk_header(10, 1, 10) + bytes(10),
    "decodes to less": chunk_header(len(lz4.frame.compress(b"a" * 99)), 1, 100)
    + lz4.frame.compress(b"a" * 99),
    "decodes to more": chunk_header(len(lz4.frame.compress(b"a" * 101)), 1, 100)
    + lz4.frame.compress(b"a" * 101),
    "frame cut short": chunk_header(20, 1, 100) + lz4.frame.compress(b"a" * 100)[:20],
    "bytes after the frame": chunk_header(len(lz4.frame.compress(b"a" * 100)) + 1, 1, 100)
    + lz4.frame.compress(b"a" * 100)
    + b"x",
    "ends in a header": b"\0\0\0",
    "ends in a chunk": chunk_header(10, 0, 10) + bytes(9),
}


@pytest.mark.parametrize("hostile", HOSTILE_CHUNKS.values(), ids=HOSTILE_CHUNKS.keys())
@pytest.mark.parametrize("buffer_nbytes", [5, 1 << 20])
def test_hostile_chunk_is_refused(hostile, buffer_nbytes):
    built = sample(xorb.LZ4)
    with pytest.raises(XorbInvalid):
        read(built.digest, pieces(built.stored + hostile, buffer_nbytes))


def test_decompression_bomb_costs_no_more_than_it_declares():
    bomb = lz4.frame.compress(bytes(64 << 20))
    assert len(bomb) > xorb.CHUNK_STORED_NBYTES  # LZ4 expands 255 times at most
    bomb = lz4.frame.compress(bytes(32 << 20))[: xorb.CHUNK_STORED_NBYTES]
    header = chunk_header(len(bomb), xorb.LZ4, xorb.CHUNK_RAW_NBYTES)
    tracemalloc.start()
    try:
        with pytest.raises(XorbInvalid):
            read(bytes(32), [header + bomb])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_xorb_that_decodes_to_too_much_is_refused():
    chunk = pack_chunk(bytes(xorb.CHUNK_RAW_NBYTES), xorb.LZ4)
    limits = Limits(xorb_nbytes=10 * xorb.CHUNK_RAW_NBYTES)  # pyright: ignore[reportCallIssue]
    with pytest.raises(LimitExceeded, match="xorb_nbytes"):
        read(bytes(32), [chunk] * 11, limits)


def test_limits_on_stored_bytes_and_chunks_hold():
    limits = Limits(xorb_nbytes=1000, xorb_chunks=10)  # pyright: ignore[reportCallIssue]
    with pytest.raises(LimitExceeded, match="xorb_nbytes"):
        read(bytes(32), [chunk_header(1001, 0, 1001) + bytes(1001)], limits)
    with pytest.raises(LimitExceeded, match="xorb_chunks"):
        read(bytes(32), [pack_chunk(b"x", xorb.AS_IS)] * 11, limits)


def test_endless_footer_is_refused():
    built = sample(xorb.LZ4)
    footer = [b"XETBLOB" + bytes(1 << 20)] * 100
    with pytest.raises(LimitExceeded, match="xorb_nbytes"):
        read(built.digest, [built.stored, *footer])


def test_mutated_xorbs_are_refused_or_unchanged():
    rng = random.Random(7)
    built = build_xorb(rng.randbytes(2_000) + bytes(2_000), xorb.LZ4, chunk_nbytes=400)
    for _ in range(5_000):
        mutant = mutate(built.stored, rng)
        try:
            raw, _ = read(built.digest, pieces(mutant, rng.choice([64, 1 << 20])))
        except HubError:
            continue
        assert raw == b"".join(built.chunks)


def mutate(data: bytes, rng: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(mutant))
        match rng.randrange(4):
            case 0:
                mutant[at] ^= 1 << rng.randrange(8)
            case 1:
                del mutant[at : at + rng.randint(1, 20)]
            case 2:
                mutant[at:at] = rng.randbytes(rng.randint(1, 20))
            case _:
                mutant[at : at + 3] = b"\xff\xff\xff"
        mutant = mutant or bytearray(b"\0")
    return bytes(mutant)


def test_damaged_stored_chunk_is_noticed():
    built = sample(xorb.AS_IS)
    raw, table = read(built.digest, [built.stored])
    damaged = bytearray(raw)
    damaged[60_000] ^= 1
    for run in (bytes(damaged), raw[:-1], raw + b"x"):
        with pytest.raises(XorbInvalid, match="digest"):
            xorb.check_run(run, table)


def test_chunks_that_expand_greatly_are_passed_on_in_runs():
    built = build_xorb(bytes(40 * xorb.CHUNK_RAW_NBYTES), xorb.LZ4)
    runs = list(XorbReader(built.digest, LIMITS).read([built.stored]))
    assert b"".join(runs) == b"".join(built.chunks)
    assert max(map(len, runs)) < xorb.RUN_NBYTES + xorb.CHUNK_RAW_NBYTES
