"""What lies in an object already is found, and cut out of the stream, wherever buffers end."""

from hypothesis import given
from hypothesis import strategies as st

from app.formats.segments import FileSegment, Layout
from app.ingest.files import Resting
from app.ingest.resting import NOTHING_RESTS, RestingFile, Stretch, find_resting

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=12)


def segments_of(lengths: list[int]) -> tuple[FileSegment, ...]:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return tuple(
        FileSegment(start, nbytes, "literal") for start, nbytes in zip(starts, lengths, strict=True)
    )


@given(LENGTHS, st.data())
def test_what_does_not_rest_is_left_in_order(lengths, data):
    segments = segments_of(lengths)
    chosen = data.draw(st.sets(st.sampled_from(segments)))
    resting = RestingFile(
        Layout("safetensors", segments), {each.start: Resting(1, 0) for each in chosen}
    )
    file = bytes(number % 251 for number in range(sum(lengths)))
    cutter = resting.cutter()
    left, at = b"", 0
    while at < len(file):
        step = data.draw(st.integers(1, 70))
        left += b"".join(cutter.without(memoryview(file)[at : at + step]))
        at += step
    assert left == b"".join(
        file[each.start : each.start + each.nbytes] for each in segments if each not in chosen
    )


def test_without_a_layout_everything_is_left():
    assert b"".join(NOTHING_RESTS.cutter().without(memoryview(b"abc"))) == b"abc"


@given(LENGTHS, LENGTHS, st.data())
def test_segments_rest_where_their_bytes_lie_in_one_piece(lengths, terms, data):
    segments = segments_of(lengths)
    total = sum(lengths)
    stretches: list[Stretch] = []
    where: list[tuple[int, int] | None] = []
    for wanted in [*terms, total]:
        nbytes = min(wanted, total - len(where))
        if not nbytes:
            continue
        object_id = data.draw(st.sampled_from([None, 1, 2]))
        last = stretches[-1] if stretches else None
        goes_on = last is not None and last.object_id == object_id and data.draw(st.booleans())
        start = (
            last.object_start + last.stop - last.start
            if goes_on and last is not None
            else data.draw(st.integers(0, 100))
        )
        stretches.append(Stretch(len(where), len(where) + nbytes, object_id, start))
        where += [
            None if object_id is None else (object_id, start + offset) for offset in range(nbytes)
        ]
    found = find_resting(segments, stretches)
    for segment in segments:
        places = where[segment.start : segment.start + segment.nbytes]
        first = places[0]
        in_one = first is not None and places == [
            (first[0], first[1] + offset) for offset in range(segment.nbytes)
        ]
        assert found.get(segment.start) == (Resting(*first) if in_one and first else None)
