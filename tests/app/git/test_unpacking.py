import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.git_objects import blob_oid
from app.errors import HubError, IntegrityError, InvalidRequest, LimitExceeded
from app.git.objects import GitObject
from app.git.pkt import PktReader
from app.git.unpacking import UnpackedObjects
from app.settings import Limits
from tests.fixtures.packs import delta, entry, pack, varint, whole

LIMITS = Limits(push_nbytes=1 << 20, push_objects=100, inline_file_nbytes=100_000)


@contextmanager
def unpack(data: bytes, *bases: GitObject, step: int = 1 << 16) -> Iterator[UnpackedObjects]:
    buffers = [data[start : start + step] for start in range(0, len(data), step)]
    with UnpackedObjects(LIMITS) as unpacked:
        unpacked.read_pack(PktReader(buffers), lambda _oids: iter(bases))
        yield unpacked


def refuse(data: bytes, error: type[HubError] = HubError, fault: str = ".") -> None:
    with pytest.raises(error, match=fault), unpack(data):
        pass


@given(
    st.lists(st.binary(max_size=3_000), max_size=8, unique=True),
    st.integers(min_value=1, max_value=4_000),
)
def test_objects_come_out_as_they_went_in(bodies: list[bytes], step: int):
    with unpack(pack(whole("blob", body) for body in bodies), step=step) as unpacked:
        assert [unpacked.body(blob_oid(body)) for body in bodies] == bodies


def test_deltas_of_every_kind_are_resolved():
    base, copy_all = b"0123456789" * 50, varint(500) + varint(503) + b"\xb0\xf4\x01" + b"\x03end"
    made = base + b"end"
    twice = varint(503) + varint(503) + b"\xb0\xf7\x01"  # a delta that changes nothing
    first = whole("blob", base)
    near = entry(6, len(copy_all), copy_all, bytes([len(first)]))
    before_its_base = [delta(blob_oid(made), varint(503) + varint(2) + b"\x02xy"), first, near]
    with unpack(pack([first, near, delta(blob_oid(made), twice)])) as unpacked:
        assert unpacked.body(blob_oid(made)) == made
    with unpack(pack(before_its_base)) as unpacked:
        assert unpacked.body(blob_oid(b"xy")) == b"xy"
    thin = pack([delta(blob_oid(base), copy_all)])
    with unpack(thin, GitObject("blob", blob_oid(base), base)) as unpacked:
        assert unpacked.body(blob_oid(made)) == made


HONEST = pack([whole("blob", b"some bytes"), whole("blob", b"and others")])


@given(st.integers(min_value=0, max_value=len(HONEST) - 1))
def test_a_pack_that_ends_early_is_refused(length: int):
    refuse(HONEST[:length])


@given(st.integers(min_value=0, max_value=len(HONEST) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int):
    broken = bytearray(HONEST)
    broken[place] ^= change
    refuse(bytes(broken))


@given(st.binary(max_size=400))
def test_noise_is_refused_politely(noise: bytes):
    body = b"PACK\0\0\0\2\0\0\0\1" + noise
    refuse(body + hashlib.sha1(body).digest())


@pytest.mark.parametrize(
    ("data", "fault", "error"),
    [
        (pack([entry(3, 50, b"x" * 51)]), "longer than it says", InvalidRequest),
        (pack([entry(3, 50, b"x" * 49)]), "shorter than it says", InvalidRequest),
        (pack([entry(0, 1, b"x")]), "unknown type", InvalidRequest),
        (pack([entry(5, 1, b"x")]), "unknown type", InvalidRequest),
        (pack([entry(6, 1, b"x", b"\x7f")]), "against nothing", InvalidRequest),
        (pack([delta("ab" * 20, b"\1\1\1x")]), "not here", InvalidRequest),
        (pack([whole("blob", b"x")], count=2), ".", HubError),
        (pack([whole("blob", b"x")], count=1 << 31), "push_objects", LimitExceeded),
        (HONEST + b"more", "behind the pack", InvalidRequest),
        (HONEST[:-1] + b"\0", "checksum", IntegrityError),
        (pack([entry(2, 1 << 40, b"")]), "limits.push_nbytes", LimitExceeded),
        (pack([entry(3, 1 << 68, b"")]), "impossible size", InvalidRequest),
        (pack([entry(2, 200_000, b"\0" * 200_000)]), "git-lfs", LimitExceeded),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_packs_that_lie_are_refused(data: bytes, fault: str, error: type[HubError]):
    refuse(data, error, fault)


def test_bombs_go_off_on_paper_only():
    zeros = whole("blob", b"\0" * 90_000)
    refuse(pack([zeros] * 50), LimitExceeded, r"limits\.push_nbytes")
    base = b"\0" * 60_000
    copies = b"\xb0\x60\xea" * 4_000  # each the whole base: 240 MB out of 12 kB
    bomb = delta(blob_oid(base), varint(60_000) + varint(60_000 * 4_000) + copies)
    refuse(pack([whole("blob", base), bomb]), LimitExceeded, "git-lfs")
    liar = delta(blob_oid(base), varint(60_000) + varint(10) + copies)
    refuse(pack([whole("blob", base), liar]), InvalidRequest, "broken delta")


def test_a_big_blob_is_named_and_not_kept():
    big = b"\0" * 200_000
    with unpack(pack([whole("blob", big)])) as unpacked:
        assert unpacked.oversized_nbytes(blob_oid(big)) == len(big)
        assert blob_oid(big) not in unpacked


def test_two_streams_in_one_object_are_refused():
    double = entry(3, 2, b"xy")[:-1] + zlib.compress(b"z")
    refuse(pack([double]))
