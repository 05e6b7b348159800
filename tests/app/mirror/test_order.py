"""What is asked for next: every byte once, and what somebody reads first."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.mirror.order import FetchOrder, Span

NBYTES = 100


def order_of(present: list[tuple[int, int]] | None = None, span: int = 10) -> FetchOrder:
    return FetchOrder(NBYTES, present or [], span_nbytes=span)


def take_all(order: FetchOrder) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    while (span := order.take()) is not None:
        spans.append((span.start, span.stop))
    return spans


@given(st.data())
def test_every_byte_that_is_lacking_is_taken_once(data: st.DataObject):
    ends = data.draw(st.lists(st.integers(0, NBYTES), unique=True).map(sorted))
    present = list(pairwise(ends))[::2]
    order = order_of(present, span=data.draw(st.integers(1, 30)))
    out: list[tuple[int, int]] = []
    came = [range(start, stop) for start, stop in present]
    for step in data.draw(st.lists(st.sampled_from(["take", "read", "break", "extend"]))):
        if step == "take" and (span := order.take()) is not None:
            out.append((span.start, span.stop))
        elif step == "read":
            start = data.draw(st.integers(0, NBYTES - 1))
            order.follow(start, data.draw(st.integers(start + 1, NBYTES)))
        elif step == "break" and out:
            start, stop = out.pop(data.draw(st.integers(0, len(out) - 1)))
            broke = data.draw(st.integers(start, stop - 1))
            came.append(range(start, broke))
            order.give_back(broke, stop)
        elif step == "extend" and out:
            start, stop = out.pop()
            out.append((start, order.extend(Span(start, stop, is_first=False))))
    came += [range(*each) for each in (*out, *take_all(order))]

    assert sorted(byte for each in came for byte in each) == list(range(NBYTES))


def test_reads_are_followed_in_turn_and_then_the_rest_from_the_beginning():
    order = order_of()
    assert order.follow(0, NBYTES)
    assert order.follow(60, 75)

    assert take_all(order) == [
        *((0, 10), (60, 70), (10, 20), (70, 80), (20, 30)),
        *((30, 40), (40, 50), (50, 60), (80, 90), (90, 100)),
    ]


def test_a_read_of_what_is_here_or_on_its_way_asks_for_nothing():
    order = order_of([(0, 50)])
    order.take()

    assert not order.follow(10, 60)
    assert order.follow(10, 61)


def test_only_the_beginning_of_a_read_is_waited_for():
    order = order_of()
    order.follow(40, 65)

    assert [order.take() for _ in range(3)] == [
        Span(40, 50, is_first=True),
        Span(50, 60, is_first=False),
        Span(60, 70, is_first=False),
    ]


def test_small_reads_begin_on_a_grid_so_that_parts_are_not_tiny():
    order = FetchOrder(10 << 20, [], span_nbytes=4 << 20)
    order.follow((10 << 20) - 8, 10 << 20)

    assert order.take() == Span(9 << 20, 10 << 20, is_first=True)
