"""Families as they are measured on pushed models."""

import itertools

import pytest

from app.db.tables import Family
from app.families.listing import ListedFamily, list_families
from tests.fixtures.models import ModelHub, Weights, as_bf16, base_weights, card, tuned, weight_file


def model_with_card(weights: Weights, base: str | None) -> dict[str, bytes]:
    return {"README.md": card(base), "model.safetensors": weight_file(weights)}


def families(models: ModelHub, caller: str | None = None) -> list[ListedFamily]:
    principal = None if caller is None else models.user(caller)
    with models.hub.db.read() as session:
        return list_families(session, principal)


def parents(models: ModelHub, caller: str | None = None) -> dict[str, str | None]:
    found = families(models, caller)
    return {m.repo_id: m.measured_parent for family in found for m in family.members}


def test_declared_and_measured_parent_agree(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push(
        "bob/tune",
        model_with_card(tuned(base, 1), "Alice/Base"),
    )
    models.run_jobs()
    [family] = families(models)
    assert family.root == "alice/base"
    root, tune = family.members
    assert (root.measured_parent, root.agrees) == (None, None)
    assert (tune.measured_parent, tune.declared_base, tune.agrees) == (
        "alice/base",
        "Alice/Base",
        True,
    )
    assert tune.declared_relation == "finetune"
    assert tune.bit_distance is not None
    assert 0.5 < tune.bit_distance < 4
    assert family.stored_nbytes == sum(m.stored_nbytes for m in family.members)
    assert tune.stored_nbytes < root.stored_nbytes
    assert tune.logical_nbytes > tune.stored_nbytes


def test_wrong_card_is_shown_beside_the_measured_parent(models: ModelHub):
    right, wrong = base_weights(1), base_weights(2)
    models.push("alice/right", right)
    models.push("alice/wrong", wrong)
    models.push(
        "bob/tune",
        model_with_card(tuned(right, 1), "alice/wrong"),
    )
    models.run_jobs()
    assert len(families(models)) == 2
    [tune] = [m for f in families(models) for m in f.members if m.repo_id == "bob/tune"]
    assert tune.measured_parent == "alice/right"
    assert tune.declared_base == "alice/wrong"
    assert tune.agrees is False


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["base", "one", "two"])), ids="-".join
)
def test_base_is_the_root_whenever_it_arrives(models: ModelHub, order):
    base = as_bf16(base_weights())
    weights = {"base": base, "one": tuned(base, 1), "two": tuned(base, 2)}
    for name in order:
        models.push(f"alice/{name}", weights[name])
        models.run_jobs()
    [family] = families(models)
    assert family.root == "alice/base"
    assert parents(models) == {
        "alice/base": None,
        "alice/one": "alice/base",
        "alice/two": "alice/base",
    }


def test_fine_tune_of_a_fine_tune_hangs_below_it(models: ModelHub):
    base = as_bf16(base_weights())
    first = as_bf16(tuned(base, 1, 4e-4))
    second = tuned(first, 2, 2e-4)
    for name, weights, of in (
        ("base", base, None),
        ("first", first, "alice/base"),
        ("second", second, "alice/first"),
    ):
        models.push(f"alice/{name}", model_with_card(weights, of))
        models.run_jobs()
    assert parents(models) == {
        "alice/base": None,
        "alice/first": "alice/base",
        "alice/second": "alice/first",
    }


def test_fp32_twin_joins_the_family_of_its_bf16_model(models: ModelHub):
    base = as_bf16(base_weights())
    models.push("alice/base", base)
    models.run_jobs()
    models.push("alice/twin", {"model.safetensors": weight_file(base, "F32")})
    models.run_jobs()
    [family] = families(models)
    twin = next(m for m in family.members if m.repo_id == "alice/twin")
    assert (twin.measured_parent, twin.bit_distance) == ("alice/base", 0.0)


def test_unrelated_models_of_one_architecture_are_two_families(models: ModelHub):
    models.push("alice/a", base_weights(1))
    models.push("alice/b", base_weights(2))
    models.run_jobs()
    assert len(families(models)) == 2


def test_private_member_is_invisible_to_others(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/secret", tuned(base, 1), private=True)
    models.run_jobs()
    models.push("carol/tune", tuned(tuned(base, 1), 2, 5e-5))
    models.run_jobs()
    assert parents(models, "carol") == {"alice/base": None, "carol/tune": "alice/base"}
    assert "bob/secret" in parents(models, "bob")
    assert families(models, None)[0].stored_nbytes < families(models, "bob")[0].stored_nbytes


def test_two_families_join_when_a_link_arrives(models: ModelHub):
    base = as_bf16(base_weights())
    left, right = tuned(base, 1, 4e-3), tuned(base, 2, 4e-3)
    models.push("alice/left", left)
    models.push("alice/right", right)
    models.run_jobs()
    before = len(families(models))
    models.push("alice/base", base)
    models.run_jobs()
    [family] = families(models)
    assert before == 2
    assert family.root == "alice/base"
    with models.hub.db.read() as session:
        assert session.query(Family).count() == 1
