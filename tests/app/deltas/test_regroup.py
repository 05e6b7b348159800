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
        self.asked: set[tuple[int, int]] = set()
        """Pairs that a price was asked for."""

    def alone(self, content_id: int) -> int:
        return 1000

    def delta(self, content_id: int, base_id: int) -> int | None:
        self.asked.add((content_id, base_id))
        if (content_id, base_id) in self.forbidden:
            return None
        return 100 + int(self.distance(content_id, base_id))

    def distance(self, content_id: int, base_id: int) -> float:
        return abs(self.places[content_id] - self.places[base_id])

    def is_farther(self, content_id: int, base_id: int, than: int) -> bool:
        return self.distance(content_id, base_id) > 1.05 * self.distance(content_id, than)


class Blind(Line):
    """Nothing is plain without a price."""

    def is_farther(self, content_id: int, base_id: int, than: int) -> bool:
        return False


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


@given(
    st.lists(st.integers(-400, 400), min_size=2, max_size=9, unique=True),
    st.randoms(use_true_random=False),
)
def test_what_is_plain_from_distances_changes_no_plan(places, random_: random.Random):
    ids = list(range(1, len(places) + 1))
    at = dict(zip(ids, places, strict=True))
    roots = random_.sample(ids, random_.randint(1, len(ids)))
    home = {each: random_.choice(roots) for each in ids if each not in roots}
    stars = [
        Star(root, tuple(c for c in home if home[c] == root), orphan=random_.random() < 0.2)
        for root in roots
    ]
    for centre in ids:
        assert plan_opening(centre, stars, Line(at)) == plan_opening(centre, stars, Blind(at))


class Directions(Line):
    """Fine-tunes in different directions: so far from their origin, farther from one another."""

    def __init__(self, origin: int, from_origin: int, from_one_another: int):
        super().__init__({})
        self.origin = origin
        self.apart = from_origin, from_one_another

    def distance(self, content_id: int, base_id: int) -> int:
        return self.apart[self.origin not in {content_id, base_id}]


BIG = Star(1, tuple(range(2, 202)))


def test_a_delta_that_is_no_better_base_is_found_out_by_a_few_prices():
    costs = Directions(1, 200, 324)
    assert plan_opening(2, [BIG], costs) is None
    assert len(costs.asked) < 5


def test_a_better_base_of_a_big_star_collects_all_of_it():
    plan = plan_opening(201, [BIG], Directions(201, 200, 324))
    assert plan is not None
    assert {move.content_id for move in plan.moves if move.base_id == 201} == {*range(1, 201)}


def test_siblings_without_their_base_are_told_apart_by_few_prices():
    """All are about as far from one another: nobody is the better base."""
    costs = Directions(0, 200, 324)
    assert plan_opening(2, [BIG], costs) is None
    assert len(costs.asked) < 40


def test_a_few_that_are_near_are_found_among_many_that_are_not():
    near = {leaf: 10_000.0 + leaf for leaf in range(50, 60)}
    costs = Line({1: 0.0} | {leaf: 5_000.0 + leaf for leaf in BIG.leaves} | near)
    plan = plan_opening(50, [BIG], costs)
    assert plan is not None
    assert {*range(51, 60)} <= {move.content_id for move in plan.moves}


def test_a_big_star_is_given_up_for_nothing_after_some_of_it_was_asked():
    """Its orphan's bytes are gained, and every delta gets longer by more than that share."""
    costs = Directions(1, 200, 324)
    assert plan_opening(2, [Star(1, BIG.leaves, orphan=True)], costs) is None
    assert len(costs.asked) < 60


def test_every_order_of_a_base_and_four_fine_tunes_ends_at_the_same_total():
    fine_tunes = range(1, 5)
    costs = Directions(0, 200, 324)
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
