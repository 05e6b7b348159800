"""Roots and parents out of distances and declarations."""

from hypothesis import given
from hypothesis import strategies as st

from app.families.kinship import Kin, descent


def kin(repo_id: int, declares=(), *, any_base=False, private=False, namespace=1) -> Kin:
    return Kin(repo_id, namespace, private, frozenset(declares), any_base or bool(declares))


def both_ways(**bits: float) -> dict[tuple[int, int], float]:
    pairs = {tuple(int(n) for n in name[1:].split("_")): value for name, value in bits.items()}
    return {**pairs, **{(b, a): value for (a, b), value in pairs.items()}}  # type: ignore[misc]


def test_centre_is_the_root_without_declarations():
    bits = both_ways(d1_2=1.0, d1_3=1.0, d2_3=1.4)
    found = descent([kin(1), kin(2), kin(3)], bits)
    assert found.root == 1
    assert found.parents == {2: (1, 1.0), 3: (1, 1.0)}


def test_declared_base_is_the_root_even_if_its_fine_tune_is_more_central():
    bits = both_ways(d1_2=1.0, d2_3=1.0, d1_3=1.4)
    found = descent([kin(1), kin(2, [1]), kin(3, [2])], bits)
    assert found.root == 1
    assert found.parents == {2: (1, 1.0), 3: (2, 1.0)}


def test_member_whose_card_names_a_stranger_is_no_root():
    found = descent([kin(1, any_base=True), kin(2)], both_ways(d1_2=1.0))
    assert found.root == 2


def test_private_repository_is_no_parent_outside_its_namespace():
    bits = both_ways(d1_2=0.5, d1_3=2.0, d2_3=0.1)
    members = [kin(1), kin(2, private=True, namespace=7), kin(3)]
    found = descent(members, bits)
    assert found.root == 1
    assert found.parents[3] == (1, 2.0)


@given(st.permutations([kin(1), kin(2, [1]), kin(3), kin(4, any_base=True)]))
def test_order_of_members_does_not_matter(members):
    bits = both_ways(d1_2=1.0, d1_3=1.5, d2_3=2.5, d3_4=0.2, d1_4=1.6, d2_4=1.8)
    found = descent(members, bits)
    assert found.root == 1
    assert found.parents == {2: (1, 1.0), 3: (1, 1.5), 4: (3, 0.2)}
