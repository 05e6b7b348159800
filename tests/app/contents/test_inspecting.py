"""Claims on an object against its bytes, whatever their places and however the bytes are cut."""

from itertools import pairwise

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from app.contents.inspecting import Claim, in_order, piece_claims, refuted
from app.digest import piece_checks

NBYTES = 400
DATA = bytes(blake3(b"inspect").digest(length=NBYTES))
ranges = (
    st.tuples(st.integers(0, NBYTES), st.integers(1, NBYTES))
    .map(sorted)
    .filter(lambda pair: pair[0] < pair[1])
)


def claim(start: int, stop: int, owner: object = None) -> Claim:
    return Claim(start, stop, blake3(DATA[start:stop]).digest(), owner)


def cut(data: bytes, stops: list[int]) -> list[memoryview]:
    edges = [0, *sorted({stop for stop in stops if stop < len(data)}), len(data)]
    return [memoryview(data)[a:b] for a, b in pairwise(edges) if a < b]


@given(st.lists(ranges), st.lists(st.integers(1, NBYTES)), st.integers(0, NBYTES - 1))
def test_exactly_the_claims_on_a_flipped_byte_fail(
    pairs: list[list[int]], stops: list[int], at: int
) -> None:
    claims = sorted((claim(a, b) for a, b in pairs), key=lambda each: each.start)
    rotten = bytearray(DATA)
    rotten[at] ^= 1

    assert refuted(cut(DATA, stops), claims) == []
    failed = refuted(cut(bytes(rotten), stops), claims)
    assert sorted(map(id, failed)) == sorted(id(c) for c in claims if c.start <= at < c.stop)


@given(st.lists(ranges), st.integers(0, NBYTES))
def test_what_is_cut_off_bears_nothing_out(pairs: list[list[int]], end: int) -> None:
    claims = sorted((claim(a, b) for a, b in pairs), key=lambda each: each.start)

    failed = refuted(cut(DATA[:end], []), claims)

    assert sorted(map(id, failed)) == sorted(id(c) for c in claims if c.stop > end)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1).map(sorted)))
def test_runs_are_merged_in_order_of_start(starts: list[list[int]]) -> None:
    starts.sort(key=lambda run: run[0])

    merged = list(in_order(iter([Claim(at, at + 1, b"", at) for at in run]) for run in starts))

    assert [each.start for each in merged] == sorted(at for run in starts for at in run)


def test_encodings_claim_their_pieces() -> None:
    data = bytes((1 << 20) + 5)

    claims = list(piece_claims("me", 7, len(data), piece_checks(data)))

    assert [(each.start, each.stop) for each in claims] == [
        (7, 7 + (1 << 20)),
        (7 + (1 << 20), 12 + (1 << 20)),
    ]
    assert refuted([memoryview(bytes(7) + data)], claims) == []
