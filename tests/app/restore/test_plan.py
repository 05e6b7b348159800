import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EntryNotFound
from app.hub import Hub
from app.restore.plan import Cutter, FilePlan, PlannedSegment, Slice, Whole, load_plan, renewed
from tests.fixtures.contents import ContentFactory

MIB = 1 << 20


def plan_of(hub: Hub, sizes: list[int]) -> FilePlan:
    """A plan of segments of these sizes, without encodings."""
    segments, start = [], 0
    for number, nbytes in enumerate(sizes):
        segments.append(PlannedSegment(start, nbytes, number))
        start += nbytes
    return FilePlan(1, b"", start, tuple(segments), {}, hub.clock.now())


@given(data=st.data())
def test_items_cover_the_range_in_order_within_the_limit(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5 * MIB), min_size=1, max_size=12))
    segments, at = [], 0
    for number, nbytes in enumerate(sizes):
        segments.append(PlannedSegment(at, nbytes, number))
        at += nbytes
    start = data.draw(st.integers(0, at))
    stop = data.draw(st.integers(start, at))
    cutter = Cutter(FilePlan(1, b"", at, tuple(segments), {}, None), start, stop)  # type: ignore[arg-type]

    covered = []
    while (work := cutter.take(limit := data.draw(st.integers(MIB, 4 * MIB)))) is not None:
        assert work.nbytes <= limit
        if isinstance(work, Whole):
            whole = [segments[id_] for id_ in work.content_ids]
            covered += [(part.start, part.start + part.nbytes) for part in whole]
        else:
            first = segments[work.content_id].start
            covered.append((first + work.start, first + work.stop))
            assert work.to_end == (stop >= first + sizes[work.content_id])

    assert sum(b - a for a, b in covered) == stop - start
    edges = [edge for pair in covered for edge in pair]
    assert edges == sorted(edges)
    if covered:
        assert (edges[0], edges[-1]) == (start, stop)


def test_slices_end_where_blocks_do(hub: Hub) -> None:
    cutter = Cutter(plan_of(hub, [10 * MIB]), 5, 10 * MIB)

    assert cutter.take(MIB) == Slice(0, 5, MIB, to_end=True)
    assert cutter.take(3 * MIB) == Slice(0, MIB, 4 * MIB, to_end=True)


def test_plan_of_a_file_that_is_gone_is_not_found(hub: Hub) -> None:
    with pytest.raises(EntryNotFound):
        load_plan(hub, 12)


def test_plan_is_renewed_when_it_is_old(hub: Hub, contents: ContentFactory) -> None:
    content = contents.content(b"bytes" * 100)
    plan = load_plan(hub, contents.file([content]).id)
    contents.reencode(content, "ZSTD")

    assert renewed(hub, plan) is plan

    hub.clock.advance(hub.settings.timers.plan_s + 1)

    assert renewed(hub, plan).refs[content].key == contents.key_of(content)
