"""Frames put together from blocks in any order."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from codec.frames.assembly import Assembly


@given(
    head=st.binary(),
    blocks=st.lists(st.binary()),
    spare=st.integers(0, 9000),
    chance=st.randoms(),
)
def test_blocks_stand_in_order_behind_the_head(head, blocks, spare, chance):
    assembly = Assembly(len(head), sum(map(len, blocks)) + spare)
    order = list(enumerate(blocks))
    chance.shuffle(order)
    for index, block in order:
        assembly.put(index, block)
    assert assembly.finish(head) == head + b"".join(blocks)


def test_threads_may_put_blocks_at_once():
    blocks = [bytes([index]) * (index * 997) for index in range(64)]
    assembly = Assembly(3, sum(map(len, blocks)))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(assembly.put, range(64), blocks))
    assert assembly.finish(b"abc") == b"abc" + b"".join(blocks)
