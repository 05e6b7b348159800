"""A stored object read from end to end and held against what its bytes are said to be.

What is said comes as claims: a range and its digest. They may lie side by side, overlap and leave
gaps; each byte of the object is read once, in order, whatever the claims.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import Generic, TypeVar

from blake3 import blake3

from app.digest import CHECK_BYTES, PIECE_BYTES
from app.hub import Hub
from app.store.contract import ObjectMissing

WINDOW_NBYTES = 8 << 20
"""Bytes per request to the store."""

Owner = TypeVar("Owner")


def _plain() -> blake3:
    return blake3()


@dataclass(frozen=True, slots=True)
class Claim(Generic[Owner]):
    """Bytes ``[start, stop)`` of an object have this digest."""

    start: int
    stop: int
    digest: bytes
    owner: Owner
    """Whom it concerns if they do not."""
    hasher: Callable[[], blake3] = _plain


@dataclass(slots=True)
class _Open(Generic[Owner]):
    claim: Claim[Owner]
    hasher: blake3


def piece_claims(owner: Owner, start: int, nbytes: int, checks: bytes) -> Iterator[Claim[Owner]]:
    """The claims of an encoding: one for every started MiB, see ``app.digest``."""
    for at in range(0, nbytes, PIECE_BYTES):
        place = at // PIECE_BYTES * CHECK_BYTES
        stop = min(at + PIECE_BYTES, nbytes)
        yield Claim(start + at, start + stop, checks[place : place + CHECK_BYTES], owner)


def in_order(runs: Iterable[Iterator[Claim[Owner]]]) -> Iterator[Claim[Owner]]:
    """The claims of all runs by start; runs, each in order itself, come by their first claim."""
    heap: list[tuple[int, int, Claim[Owner], Iterator[Claim[Owner]]]] = []

    def take() -> Claim[Owner]:
        _, number, claim, run = heap[0]
        following = next(run, None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (following.start, number, following, run))
        return claim

    for number, run in enumerate(runs):
        first = next(run, None)
        if first is None:
            continue
        while heap and heap[0][0] < first.start:
            yield take()
        heappush(heap, (first.start, number, first, run))
    while heap:
        yield take()


def windows(hub: Hub, key: str, nbytes: int) -> Iterator[memoryview]:
    """The bytes of an object in order. Raises ObjectMissing or StoreUnavailable."""
    for at in range(0, nbytes, WINDOW_NBYTES):
        yield memoryview(hub.store.read(key, at, min(at + WINDOW_NBYTES, nbytes)))


def refuted(buffers: Iterable[memoryview], claims: Iterable[Claim[Owner]]) -> list[Claim[Owner]]:
    """Claims that the bytes of an object, given in order, do not bear out.

    ``claims`` come in order of start. Memory: those that are open at one place, and a buffer.
    """
    waiting = iter(claims)
    following = next(waiting, None)
    opened: list[_Open[Owner]] = []
    failed: list[Claim[Owner]] = []
    at = 0
    for buffer in buffers:
        end = at + len(buffer)
        while following is not None and following.start < end:
            opened.append(_Open(following, following.hasher()))
            following = next(waiting, None)
        going_on: list[_Open[Owner]] = []
        for each in opened:
            claim = each.claim
            each.hasher.update(buffer[max(claim.start - at, 0) : claim.stop - at])
            if claim.stop > end:
                going_on.append(each)
            elif each.hasher.digest(length=len(claim.digest)) != claim.digest:
                failed.append(claim)
        opened, at = going_on, end
    failed += [each.claim for each in opened]
    while following is not None:
        failed.append(following)
        following = next(waiting, None)
    return failed


def confirmed(hub: Hub, key: str, failed: Iterable[Claim[Owner]]) -> list[Claim[Owner]]:
    """Those of the refuted claims that a second reading refutes as well: the wire may err once.

    Raises StoreUnavailable.
    """
    again: list[Claim[Owner]] = []
    stat = hub.store.stat(key)
    for claim in failed:
        if stat is None or stat.nbytes < claim.stop:
            again.append(claim)
            continue
        hasher = claim.hasher()
        try:
            for at in range(claim.start, claim.stop, WINDOW_NBYTES):
                hasher.update(hub.store.read(key, at, min(at + WINDOW_NBYTES, claim.stop)))
        except ObjectMissing:
            again.append(claim)
            continue
        if hasher.digest(length=len(claim.digest)) != claim.digest:
            again.append(claim)
    return again
