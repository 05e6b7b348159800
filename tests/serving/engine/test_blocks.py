import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.engine.blocks import BlockPool, NoRoom, chain, salted


class Holders(RuleBasedStateMachine):
    """Holders come and go while the pool is resized; what each block holds follows along."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(8)
        self.held: list[list[int]] = []
        self.known: dict[bytes, list[int]] = {}
        self.counter = 0

    @rule(count=st.integers(0, 6))
    def allocate(self, count: int) -> None:
        if count > self.pool.num_free:
            with pytest.raises(NoRoom):
                self.pool.allocate(count)
            return
        blocks = self.pool.allocate(count)
        assert len(set(blocks)) == count
        assert not set(blocks) & {block for each in self.held for block in each}
        self.held.append(blocks)

    @rule(pick=st.integers(0, 5))
    def name(self, pick: int) -> None:
        if pick < len(self.held):
            for block in self.held[pick]:
                self.counter += 1
                self.pool.name(block, self.counter.to_bytes(4))

    @rule(number=st.integers(1, 40))
    def share(self, number: int) -> None:
        found = self.pool.find([number.to_bytes(4)])
        self.pool.hold(found)
        self.held.append(found)

    @rule(pick=st.integers(0, 5))
    def release(self, pick: int) -> None:
        if pick < len(self.held):
            self.pool.release(self.held.pop(pick))

    @rule(size=st.integers(1, 16))
    def resize(self, size: int) -> None:
        if size > self.pool.num_blocks:
            self.pool.grow(size)
        elif self.pool.num_held > size:
            with pytest.raises(NoRoom):
                self.pool.shrink(size)
        elif size < self.pool.num_blocks:
            moved = self.pool.shrink(size)
            assert all(source >= size > target for source, target in moved.items())
            self.held = [[moved.get(block, block) for block in each] for each in self.held]

    @rule()
    def forget_names(self) -> None:
        self.pool.forget_names()
        assert not self.pool.find([number.to_bytes(4) for number in range(40)])

    @invariant()
    def books_add_up(self) -> None:
        self.pool.check()
        held = {block for each in self.held for block in each}
        assert self.pool.num_held == len(held)
        assert all(block < self.pool.num_blocks for block in held)


TestHolders = Holders.TestCase


def test_least_recently_released_is_evicted_first_and_ends_before_starts() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    for block in first + second:
        pool.name(block, bytes([block]))
    pool.release(second)
    pool.release(first)

    taken = [pool.allocate(1)[0] for _ in range(4)]

    assert taken == [second[1], second[0], first[1], first[0]]


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=8), st.integers(0, 7))
def test_names_tell_every_token_apart(tokens: list[int], place: int) -> None:
    other = list(tokens)
    other[place % len(tokens)] += 1

    assert chain(b"", tokens) != chain(b"", other)
    assert chain(b"a", tokens) != chain(b"", tokens)


@given(st.lists(st.tuples(st.binary(max_size=3), st.text(max_size=3)), min_size=2, max_size=2))
def test_salts_are_apart_wherever_one_ends_and_the_other_begins(pair) -> None:
    one, other = pair
    assert (salted(*one) == salted(*other)) == (one == other)


def test_without_a_secret_the_salt_stays_what_it_was() -> None:
    assert salted(b"3:adapter", None) == b"3:adapter"
