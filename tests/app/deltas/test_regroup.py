"""Openings of better bases: pure planning over a table of costs."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from app.deltas.regroup import Move, Star, best_opening, plan_opening


class Line:
    """Contents at places on a line: a delta costs the distance, alone costs 100."""

    def __init__(
        self, places: dict[int, float], forbidden: frozenset[tuple[int, int]] = frozenset()
    ):
        self.places = places
        self.forbidden = forbidden

    def alone(self, content_id: int) -> int:
        return 1000

    def delta(self, content_id: int, base_id: int) -> int | None:
        if (content_id, base_id) in self.forbidden:
            return None
        return 100 + int(abs(self.places[content_id] - self.places[base_id]))


def apply(stars: list[Star], moves: tuple[Move, ...]) -> dict[int, int | None]:
    """Play the moves one by one, holding the rule that a base is self-contained at every moment."""
    base = {leaf: star.root for star in stars for leaf in star.leaves}
    state: dict[int, int | None] = {star.root: None for star in stars} | base
    for move in moves:
        if move.base_id is not None:
            assert state[move.base_id] is None, "base is a delta"
            assert move.content_id not in state.values(), "a base with dependents became a delta"
        state[move.content_id] = move.base_id
    return state


def total(state: dict[int, int | None], costs: Line) -> int:
    return sum(
        costs.alone(c) if base is None else costs.delta(c, base) or costs.alone(c)
        for c, base in state.items()
    )


def test_late_base_between_two_fine_tunes_becomes_the_base():
    costs = Line({1: -300, 2: 300, 3: 0})
    stars = [Star(1, (2, 3))]
    plan = plan_opening(3, stars, costs)
    assert plan is not None
    assert plan.moves == (Move(3, None), Move(2, 3), Move(1, 3))
    assert plan.saving == total({1: None, 2: 1, 3: 1}, costs) - total({3: None, 1: 3, 2: 3}, costs)


def test_base_and_one_fine_tune_stay_as_they_are():
    assert plan_opening(2, [Star(1, (2,))], Line({1: 0, 2: 300})) is None


def test_self_contained_newcomer_collects_lonely_fine_tunes():
    costs = Line({1: -500, 2: 500, 3: 0})
    plan = plan_opening(3, [Star(1), Star(2), Star(3)], costs)
    assert plan is not None
    assert set(plan.moves) == {Move(1, 3), Move(2, 3)}


def test_only_the_nearer_leaves_of_a_far_star_move():
    costs = Line({1: 0, 2: 10, 3: 890, 9: 900})
    plan = plan_opening(9, [Star(1, (2, 3)), Star(9)], costs)
    assert plan is not None
    assert plan.moves == (Move(3, 9),)


def test_forbidden_base_is_never_proposed():
    costs = Line({1: -300, 2: 300, 3: 0}, forbidden=frozenset({(1, 3), (2, 3)}))
    assert plan_opening(3, [Star(1, (2, 3))], costs) is None


def test_orphan_base_hands_over_to_its_only_dependent():
    plan = plan_opening(2, [Star(1, (2,), orphan=True)], Line({1: 0, 2: 300}))
    assert plan is not None
    assert plan.moves == (Move(2, None),)
    assert plan.saving == 400


@given(
    st.lists(st.integers(-400, 400), min_size=2, max_size=7, unique=True),
    st.randoms(use_true_random=False),
)
def test_any_sequence_of_openings_keeps_depth_one_and_ends(places, random_: random.Random):
    ids = list(range(1, len(places) + 1))
    costs = Line(dict(zip(ids, places, strict=True)))
    state: dict[int, int | None] = dict.fromkeys(ids)
    before = total(state, costs)
    for _ in range(100):
        roots = [c for c in ids if state[c] is None]
        stars = [Star(r, tuple(c for c in ids if state[c] == r)) for r in roots]
        random_.shuffle(stars)
        plan = best_opening(ids, stars, costs)
        if plan is None:
            break
        state = apply(stars, plan.moves)
        assert total(state, costs) == before - plan.saving
        before = total(state, costs)
    else:
        raise AssertionError("does not end")


def test_every_order_of_a_base_and_four_fine_tunes_ends_at_the_same_total():
    # Fine-tunes in different directions: 300 from the base, 424 from one another.
    fine_tunes = range(1, 5)

    class Directions(Line):
        def delta(self, content_id: int, base_id: int) -> int | None:
            return 300 if 0 in {content_id, base_id} else 424

    costs = Directions({})
    totals = set()
    for order in itertools.permutations([0, *fine_tunes]):
        state: dict[int, int | None] = {}
        for new in order:
            roots = [c for c in state if state[c] is None]
            best = min(roots, key=lambda r: costs.delta(new, r) or 0, default=None)
            state[new] = best
            stars = [
                Star(r, tuple(c for c in state if state[c] == r)) for r in state if state[r] is None
            ]
            while plan := best_opening(list(state), stars, costs):
                state = apply(stars, plan.moves)
                stars = [
                    Star(r, tuple(c for c in state if state[c] == r))
                    for r in state
                    if state[r] is None
                ]
        totals.add(total(state, costs))
    assert len(totals) == 1
