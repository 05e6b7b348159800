"""Roots and parents out of distances and declarations."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from app.families.kinship import Kin, descent

NAMES = ("fp32", "minilm", "docs", "docs-fp32", "docs-v2", "code", "lora", "head", "vocab")
MEASURED = (
    (0.000, 0.000, 0.495, 0.495, 0.553, 1.006, 0.238, 0.275, 1.431),
    (0.000, 0.000, 0.495, 0.495, 0.553, 1.006, 0.238, 0.275, 1.431),
    (0.495, 0.495, 0.000, 0.000, 0.370, 1.005, 0.636, 0.608, 1.458),
    (0.495, 0.495, 0.000, 0.000, 0.370, 1.005, 0.636, 0.608, 1.458),
    (0.553, 0.553, 0.370, 0.370, 0.000, 1.005, 0.683, 0.648, 1.477),
    (1.006, 1.006, 1.005, 1.005, 1.005, 0.000, 1.049, 1.017, 1.993),
    (0.238, 0.238, 0.636, 0.636, 0.683, 1.049, 0.000, 0.455, 1.622),
    (0.275, 0.275, 0.608, 0.608, 0.648, 1.017, 0.455, 0.000, 1.542),
    (1.431, 1.431, 1.458, 1.458, 1.477, 1.993, 1.622, 1.542, 0.000),
)
"""Bits that differ between fine-tunes of all-MiniLM-L6-v2, rounded to BF16."""

TREE = {
    "fp32": "minilm",
    "docs": "minilm",
    "docs-fp32": "docs",
    "docs-v2": "docs",
    "code": "minilm",
    "lora": "minilm",
    "head": "minilm",
    "vocab": "minilm",
}
CARDS = {
    "docs": "minilm",
    "docs-fp32": "fp32",
    "code": "minilm",
    "lora": "minilm",
    "head": "minilm",
    "vocab": "minilm",
}


def kin(repo_id: int, declares=(), *, any_base=False, private=False, namespace=1) -> Kin:
    return Kin(repo_id, namespace, private, frozenset(declares), any_base or bool(declares))


def real_family(order, cards: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Root and parents of the measured models, uploaded in this order."""
    ids = {name: number for number, name in enumerate(order, 1)}
    members = [
        Kin(
            ids[name],
            namespace_id=1,
            private=False,
            declares=frozenset({ids[cards[name]]} if name in cards else ()),
            declares_any=name in cards,
            dtype="F32" if "fp32" in name else "BF16",
        )
        for name in order
    ]
    bits = {
        (ids[NAMES[a]], ids[NAMES[b]]): MEASURED[a][b]
        for a, b in product(range(len(NAMES)), repeat=2)
        if a != b
    }
    found = descent(members, bits)
    names = {number: name for name, number in ids.items()}
    return names[found.root], {names[c]: names[p] for c, (p, _) in found.parents.items()}


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


@settings(max_examples=60)
@given(st.permutations(NAMES))
def test_real_family_is_the_same_in_every_order_of_uploads(order):
    assert real_family(order, CARDS) == ("minilm", TREE)


@settings(max_examples=60)
@given(st.permutations(NAMES))
def test_real_family_without_cards_is_the_same(order):
    assert real_family(order, {}) == ("minilm", TREE)


@given(st.permutations(NAMES))
def test_one_wrong_card_changes_nothing(order):
    assert real_family(order, CARDS | {"lora": "docs"}) == ("minilm", TREE)


@given(st.permutations(NAMES))
def test_card_of_the_base_that_names_a_fine_tune_is_outvoted(order):
    assert real_family(order, CARDS | {"minilm": "lora"}) == ("minilm", TREE)


def test_declared_parent_wins_among_about_equals_only():
    bits = both_ways(d1_2=1.0, d1_3=2.0, d2_3=1.9)
    assert descent([kin(1), kin(2, [1]), kin(3, [1])], bits).parents[3] == (1, 2.0)
    assert descent([kin(1), kin(2, [1]), kin(3, [2])], bits).parents[3] == (2, 1.9)
    far = both_ways(d1_2=1.0, d1_3=2.0, d2_3=1.2)
    assert descent([kin(1), kin(2, [1]), kin(3, [1])], far).parents[3] == (2, 1.2)


def test_two_that_declare_each_other_still_have_a_root():
    found = descent([kin(1, [2]), kin(2, [1])], both_ways(d1_2=1.0))
    assert (found.root, found.parents) == (1, {2: (1, 1.0)})
