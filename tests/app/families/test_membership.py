"""Families as they are measured on pushed models."""

import itertools

import numpy as np
import pytest

from app.catalog.repos import set_private
from app.db.tables import Family
from app.families.listing import ListedFamily, list_families
from tests.fixtures.files import safetensors_of
from tests.fixtures.models import (
    ModelHub,
    Weights,
    as_bf16,
    base_weights,
    bf16_bytes,
    card,
    tuned,
    weight_file,
)


def model_with_card(weights: Weights, base: str | None) -> dict[str, bytes]:
    return {"README.md": card(base), "model.safetensors": weight_file(weights)}


def families(models: ModelHub, caller: str | None = None) -> list[ListedFamily]:
    principal = None if caller is None else models.user(caller)
    with models.hub.db.read() as session:
        return list_families(session, principal)[0]


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


@pytest.mark.parametrize("named", ["U16", "F8_E5M2", "I64"])
def test_bytes_that_were_named_otherwise_before_are_not_compared(models: ModelHub, named: str):
    base = as_bf16(base_weights())
    some = [base[name] for name in ("embed_tokens.weight", "lm_head.weight")]
    sent = [data for each in some for data in (bf16_bytes(each), each.astype("<f4").tobytes())]
    width = {"U16": 2, "F8_E5M2": 1, "I64": 8}[named]
    tensors = {f"t{n}": (named, [len(data) // width], data) for n, data in enumerate(sent)}
    models.push("bob/other", {"other.safetensors": safetensors_of(tensors)})
    models.run_jobs()
    models.push("alice/base", base)
    models.push("alice/twin", {"model.safetensors": weight_file(base, "F32")})
    models.push("alice/tune", tuned(base, 1))
    models.run_jobs()
    [family] = [f for f in families(models) if len(f.members) > 1]
    assert {m.repo_id for m in family.members} == {"alice/base", "alice/twin", "alice/tune"}
    assert all(m.bit_distance is None or m.bit_distance < 16 for m in family.members)


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


def whole_family() -> dict[str, dict[str, bytes]]:
    """Siblings of one base, a fine-tune of one of them, casts, a re-sharded copy, more rows."""
    published = base_weights()
    base = as_bf16(published)
    docs = as_bf16(tuned(base, 1, 2e-4))
    code = tuned(base, 3, 1e-3)
    vocab = tuned(base, 6, 3e-4)
    rows = np.random.default_rng(7).normal(0, 0.02, (16, 64)).astype("f4")
    vocab["embed_tokens.weight"] = np.concatenate([vocab["embed_tokens.weight"], rows])
    shards = {
        f"model-{n}.safetensors": weight_file({name: code[name] for name in part})
        for n, part in enumerate((list(code)[:3], list(code)[3:]))
    }
    return {
        "base": model_with_card(base, None),
        "base-fp32": {"model.safetensors": weight_file(published, "F32")},
        "docs": model_with_card(docs, "alice/base"),
        "docs-v2": model_with_card(tuned(docs, 2, 1e-4), None),
        "code": model_with_card(code, "alice/base"),
        "code-sharded": {"README.md": card("alice/base"), **shards},
        "lora": model_with_card(tuned(base, 4, only=["layers.0.up.weight"]), "alice/base"),
        "head": model_with_card(tuned(base, 5, only=["lm_head.weight"]), "alice/base"),
        "vocab": model_with_card(vocab, "alice/base"),
    }


ORDERS = (
    "base base-fp32 docs docs-v2 code code-sharded lora head vocab",
    "vocab head lora code code-sharded docs-v2 docs base-fp32 base",
    "docs-v2 docs code base code-sharded vocab base-fp32 head lora",
    "code lora docs-v2 vocab head base-fp32 base docs code-sharded",
)


@pytest.mark.parametrize("order", ORDERS, ids=("base first", "base last", "mixed", "mixed too"))
def test_every_order_of_uploads_gives_the_same_family(models: ModelHub, order):
    weights = whole_family()
    for name in order.split():
        models.push(f"alice/{name}", weights[name])
        models.run_jobs()
    [family] = families(models)
    assert family.root == "alice/base"
    found = {m.repo_id.removeprefix("alice/"): m for m in family.members}
    base = "alice/base"
    assert {name: (m.measured_parent, m.relation, m.agrees) for name, m in found.items()} == {
        "base": (None, None, None),
        "base-fp32": (base, "cast", None),
        "docs": (base, "finetune", True),
        "docs-v2": ("alice/docs", "finetune", None),
        "code": (base, "finetune", True),
        "code-sharded": ("alice/code", "duplicate", True),
        "lora": (base, "finetune", True),
        "head": (base, "finetune", True),
        "vocab": (base, "finetune", True),
    }
    # The base, lora and head hold the same embedding.
    alone = {n for n in found if models.base_of(f"alice/{n}", "embed_tokens.weight") is None}
    assert alone == {"base", "lora", "head"}
    models.check(deep=False)


def test_declared_base_that_is_clearly_farther_is_a_disagreement(models: ModelHub):
    weights = whole_family()
    weights["docs-v2"]["README.md"] = card("alice/base")
    weights["lora"]["README.md"] = card("alice/docs")
    weights["head"]["README.md"] = card("elsewhere/model")
    for name in ("base", "docs", "docs-v2", "lora", "head"):
        models.push(f"alice/{name}", weights[name])
    models.run_jobs()
    [family] = families(models)
    found = {m.repo_id.removeprefix("alice/"): m for m in family.members}
    shown = {n: (m.measured_parent, m.declared_here, m.agrees) for n, m in found.items()}
    assert shown == {
        "base": (None, None, None),
        "docs": ("alice/base", True, True),
        "docs-v2": ("alice/docs", True, False),
        "lora": ("alice/base", True, False),
        "head": ("alice/base", False, False),
    }


def test_family_finds_another_root_when_its_root_is_deleted(models: ModelHub):
    base = as_bf16(base_weights())
    for seed, name in enumerate(("base", "one", "two")):
        models.push(f"alice/{name}", tuned(base, seed) if seed else base)
        models.run_jobs()
    models.delete_repo("alice/base")
    models.run_jobs()
    [family] = families(models)
    assert family.root == "alice/one"
    assert parents(models) == {"alice/one": None, "alice/two": "alice/one"}


def test_base_that_turns_private_is_the_parent_of_its_namespace_only(models: ModelHub):
    base = as_bf16(base_weights())
    models.push("alice/base", base)
    models.push("bob/one", tuned(base, 1))
    models.push("carol/two", tuned(base, 2))
    models.run_jobs()
    set_private(models.hub, models.repo("alice/base"), private=True)
    models.run_jobs()
    assert parents(models, "bob") == {"bob/one": None, "carol/two": "bob/one"}
    assert parents(models, "alice")["alice/base"] in {"bob/one", "carol/two"}


def test_name_of_a_private_base_tells_nobody_that_it_exists(models: ModelHub):
    base = as_bf16(base_weights())
    models.push("alice/secret", base, private=True)
    models.push("alice/tune", model_with_card(tuned(base, 1), "alice/secret"))
    models.run_jobs()
    for caller, here in (("alice", True), ("bob", False)):
        [tune] = [m for f in families(models, caller) for m in f.members if "tune" in m.repo_id]
        assert tune.declared_here is here


def test_two_families_join_when_a_link_arrives(models: ModelHub):
    base = as_bf16(base_weights())
    left, right = tuned(base, 1, 8e-3), tuned(base, 2, 8e-3)
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
