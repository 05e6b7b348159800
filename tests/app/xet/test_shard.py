"""The shard format: honest shards are parsed, hostile ones are refused within bounds."""

import random
import struct
import tracemalloc

import pytest

from app.errors import HubError, LimitExceeded
from app.settings import Limits
from app.xet import shard
from app.xet.shard import ShardInvalid, parse_shard
from tests.fixtures.xorbs import build_shard, build_xorb, file_block

LIMITS = Limits()  # pyright: ignore[reportCallIssue]

FIRST = build_xorb(random.Random(1).randbytes(200_000))
SECOND = build_xorb(random.Random(2).randbytes(100_000))
SHARD = build_shard(
    file_block([(FIRST, 0, 4), (SECOND, 1, 2)]),
    file_block([(SECOND, 0, 2)], with_sha256=False, checks=False),
    xorbs=(FIRST, SECOND),
)


def test_files_and_terms_are_read():
    first, second = parse_shard(SHARD, LIMITS)
    assert first.nbytes == 250_000
    assert first.sha256 is not None
    terms = list(first.terms())
    assert [(term.xorb, term.start, term.stop) for term in terms] == [
        (FIRST.digest, 0, 4),
        (SECOND.digest, 1, 2),
    ]
    assert all(term.check is not None for term in terms)
    assert second.sha256 is None
    assert [term.check for term in second.terms()] == [None]


def test_shard_without_xorbs_is_fine():
    assert len(parse_shard(build_shard(file_block([(FIRST, 0, 1)])), LIMITS)) == 1
    assert parse_shard(build_shard(), LIMITS) == []


@pytest.mark.parametrize("spool_nbytes", [len(SHARD) - 1, len(SHARD), len(SHARD) + 1])
def test_big_shard_waits_on_disk(monkeypatch, spool_nbytes):
    monkeypatch.setattr(shard, "SPOOL_NBYTES", spool_nbytes)
    buffers = [SHARD[start : start + 100] for start in range(0, len(SHARD), 100)]
    files = shard.read_shard(buffers, LIMITS)
    assert [list(file.terms()) for file in files] == [
        list(file.terms()) for file in parse_shard(SHARD, LIMITS)
    ]


def test_endless_shard_is_refused():
    limits = Limits(shard_nbytes=1000)  # pyright: ignore[reportCallIssue]
    with pytest.raises(LimitExceeded, match="shard_nbytes"):
        shard.read_shard([bytes(600)] * 2, limits)


def test_every_truncation_is_refused():
    for stop in range(0, len(SHARD), 7):
        with pytest.raises(ShardInvalid):
            parse_shard(SHARD[:stop], LIMITS)


@pytest.mark.parametrize(
    "hostile",
    [
        b"\0" + SHARD[1:],
        SHARD[:32] + struct.pack("<QQ", 3, 0) + SHARD[48:],
        SHARD[:32] + struct.pack("<QQ", 2, 200) + SHARD[48:],
        SHARD + b"x",
        build_shard(struct.pack("<32sIIQ", bytes(32), 0, 0, 0)),
        build_shard(struct.pack("<32sIIQ", bytes(32), 0, 0xFFFFFFFF, 0)),
    ],
    ids=["magic", "version", "footer", "trailing", "no terms", "four billion terms"],
)
def test_what_is_no_shard_is_refused(hostile):
    with pytest.raises(ShardInvalid):
        parse_shard(hostile, LIMITS)


def test_limits_hold():
    many = build_shard(*[file_block([(FIRST, 0, 1)])] * 6)
    with pytest.raises(LimitExceeded, match="shard_files"):
        parse_shard(many, Limits(shard_files=5))  # pyright: ignore[reportCallIssue]
    with pytest.raises(LimitExceeded, match="file_nbytes"):
        parse_shard(many, Limits(file_nbytes=299_999))  # pyright: ignore[reportCallIssue]
    with pytest.raises(LimitExceeded, match="shard_nbytes"):
        parse_shard(many, Limits(shard_nbytes=100))  # pyright: ignore[reportCallIssue]


def test_a_small_shard_cannot_announce_a_huge_file():
    term = struct.pack("<32sIIII", FIRST.digest, 0, 0xFFFFFFFF, 0, 1)
    block = struct.pack("<32sIIQ", bytes(32), 0, 1000, 0) + term * 1000
    with pytest.raises(LimitExceeded, match="file_nbytes"):
        parse_shard(build_shard(block), LIMITS)


def test_mutated_shards_are_refused_or_read_within_bounds():
    rng = random.Random(3)
    tracemalloc.start()
    try:
        for _ in range(5_000):
            mutant = bytearray(SHARD)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(mutant))
                mutant[at : at + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
            try:
                for file in parse_shard(bytes(mutant), LIMITS):
                    list(file.terms())
            except HubError:
                continue
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_records_are_48_bytes():
    assert shard.TERM.itemsize == shard.CHECK.itemsize == shard.RECORD_NBYTES
