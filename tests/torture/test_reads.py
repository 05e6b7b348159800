"""What is read from a store: the right bytes where it is sound, none that are wrong where not."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import select, update

from app.db.tables import Content
from app.errors import Damaged
from app.hub import Hub
from app.restore.plan import FilePlan, load_plan
from app.restore.reader import FileReader
from app.store.retry import RetryPolicy
from tests.app.restore.test_reader import CODECS, drifted, weights
from tests.fixtures.contents import ContentFactory, StoredFile
from tests.torture.budget import Ledger, Summary, budget, piece_s, told

RANGES_OF_A_DAMAGE = 20

Spoil = Callable[[random.Random, bytes, bytes, bytes], bytes | None]
"""What becomes of an object, by draws, its bytes, those of another, and older ones of its own."""


def flip(draws: random.Random, good: bytes, _other: bytes, _older: bytes) -> bytes:
    at = draws.randrange(len(good))
    return good[:at] + bytes([good[at] ^ 1 << draws.randrange(8)]) + good[at + 1 :]


def zero_page(draws: random.Random, good: bytes, _other: bytes, _older: bytes) -> bytes:
    at = draws.randrange(max(1, len(good) - 4096))
    return (good[:at] + bytes(4096) + good[at + 4096 :])[: len(good)]


WAYS: dict[str, Spoil] = {
    "a bit flipped": flip,
    "the last byte gone": lambda _draws, good, _other, _older: good[:-1],
    "a page of zeros": zero_page,
    "another object": lambda _draws, _good, other, _older: other,
    "an older object": lambda _draws, _good, _other, older: older,
    "deleted": lambda _draws, _good, _other, _older: None,
}


@dataclass(frozen=True)
class Entry:
    """A stored file, how to read it, and each object that it needs with what was there before."""

    file: StoredFile
    plan: FilePlan
    older: dict[str, bytes]


def entry(contents: ContentFactory, draws: random.Random, largest: int) -> Entry:
    """A file of some contents of any codecs, each and each base in an object of its own."""
    ids, older = [], {}
    for _ in range(draws.randint(1, 3)):
        data = weights(draws.randint(64, largest), draws.randrange(1 << 30))
        codec = draws.choice(CODECS)
        base = contents.content(drifted(data), "PLANE") if codec == "BITX" else None
        ids.append(contents.content(data, codec, base))
        before = data[::-1]
        older[contents.key_of(ids[-1])] = (
            before if codec == "raw" else contents.frame(before, codec, base)
        )
        if base is not None:
            older[contents.key_of(base)] = contents.frame(data, "PLANE")
    file = contents.file(ids)
    return Entry(file, load_plan(contents.hub, file.id), older)


def read(hub: Hub, entry: Entry, start: int, stop: int) -> bytes:
    return b"".join(FileReader(hub, entry.plan).stream(start, stop))


def some_range(draws: random.Random, nbytes: int) -> tuple[int, int]:
    start = draws.randint(0, nbytes)
    return start, draws.randint(start, nbytes)


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_any_range_is_the_slice(
    hub: Hub, contents: ContentFactory, tell: Callable[[str], None]
) -> None:
    with told("ranges", tell) as summary:
        draws, ends = random.Random(summary.seed), time.monotonic() + piece_s()
        left = budget("RANGES", short=500, long=100_000) - Ledger(summary.attack).totals()["ranges"]
        while left > 0 and time.monotonic() < ends:
            each = entry(contents, draws, 400_000)
            for _ in range(min(left, 500)):
                start, stop = some_range(draws, len(each.file.data))
                assert read(hub, each, start, stop) == each.file.data[start:stop]
                summary.count("ranges")
                left -= 1


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_no_damaged_object_is_served(
    hub: Hub,
    contents: ContentFactory,
    tell: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whole and in ranges, and through its deltas: right bytes, or an end that is none."""
    # An object that lost its end is asked for again, as an answer may have been cut short.
    monkeypatch.setattr(RetryPolicy, "wait_before", lambda _policy, _attempt: 0)
    with told("damage", tell) as summary:
        draws, ends = random.Random(summary.seed), time.monotonic() + piece_s()
        left = budget("DAMAGES", short=500, long=50_000) - Ledger(summary.attack).totals()["reads"]
        while summary.counts.get("reads", 0) < left and time.monotonic() < ends:
            each, other = (entry(contents, draws, 60_000) for _ in range(2))
            strange = contents.object_bytes(next(iter(other.older)))
            for key, older in each.older.items():
                good = contents.object_bytes(key)
                for name, spoil in WAYS.items():
                    bad = spoil(draws, good, strange, older)
                    if bad == good:
                        continue  # a page that was zero
                    with_object(contents, key, bad)
                    assert_never_wrong(hub, each, draws, summary)
                    summary.count(name)
                    with_object(contents, key, good)
                assert read(hub, each, 0, len(each.file.data)) == each.file.data


def with_object(contents: ContentFactory, key: str, data: bytes | None) -> None:
    contents.hub.store.delete(key)
    if data is not None:
        contents.hub.store.put(key, [data])


def assert_never_wrong(hub: Hub, each: Entry, draws: random.Random, summary: Summary) -> None:
    """The whole file is refused, and the hub knows why; of ranges those that need the object."""
    data = each.file.data
    for start, stop in (
        (0, len(data)),
        *(some_range(draws, len(data)) for _ in range(RANGES_OF_A_DAMAGE)),
    ):
        try:
            assert read(hub, each, start, stop) == data[start:stop]
        except Damaged:
            summary.count("refusals")
        else:
            assert (start, stop) != (0, len(data)), "a damaged file was served"
        summary.count("reads")
    with hub.db.read() as session:
        known = session.scalars(select(Content.id).where(Content.health == "damaged")).all()
    assert known, "nobody was told"
    healed = update(Content).where(Content.id.in_(known)).values(health="ok")
    hub.db.run(lambda session: session.execute(healed))
