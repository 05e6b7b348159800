"""Models in several precisions: who is stored as whose delta, and what it takes."""

import numpy as np
import pytest

from tests.fixtures.models import (
    ModelHub,
    Weights,
    as_bf16,
    base_weights,
    card,
    tuned,
    weight_file,
)

BIG = "embed_tokens.weight"
SHAPES = {BIG: (4000, 64), "layers.0.up.weight": (512, 64), "layers.0.down.weight": (64, 512)}


def push(models: ModelHub, repo: str, weights: Weights, dtype: str) -> int:
    """Push and encode one file; by how much the store grew."""
    before = models.stored_nbytes()
    models.push(repo, {"model.safetensors": weight_file(weights, dtype)})
    models.run_jobs()
    return models.stored_nbytes() - before


def raw_nbytes(weights: Weights, dtype: str) -> int:
    return sum(each.size for each in weights.values()) * (2 if dtype == "BF16" else 4)


def test_fp32_twin_of_a_bf16_base_costs_nothing_and_its_fine_tune_little(models: ModelHub):
    base = as_bf16(base_weights(shapes=SHAPES))
    raw = raw_nbytes(base, "F32")
    push(models, "alice/base", base, "BF16")
    assert push(models, "alice/twin", base, "F32") < 0.01 * raw
    models.push("alice/tune", {"README.md": card("alice/base")})
    assert push(models, "alice/tune", tuned(base, 1, 2e-5), "F32") < 0.53 * raw
    assert models.base_of("alice/twin", BIG) == "alice/base"
    assert models.base_of("alice/tune", BIG) == "alice/base"
    # Values that a bf16 model could have had cost as much as in one.
    narrow = as_bf16(tuned(base, 2, 2e-4))
    stored = push(models, "alice/narrow", narrow, "F32")
    again = push(models, "alice/again", as_bf16(tuned(base, 3, 2e-4)), "BF16")
    assert stored == pytest.approx(again, rel=0.03)
    models.check()


def test_bf16_twin_of_an_fp32_base_costs_nothing(models: ModelHub):
    base = base_weights(shapes=SHAPES)
    push(models, "alice/base", base, "F32")
    raw = raw_nbytes(base, "BF16")
    assert push(models, "alice/twin", base, "BF16") < 0.01 * raw
    assert push(models, "alice/tune", tuned(base, 1, 1e-4), "BF16") < 0.3 * raw
    bases = [models.base_of(f"alice/{name}", BIG) for name in ("base", "twin", "tune")]
    assert bases.count(None) == 1
    models.check()


def test_order_of_precisions_does_not_matter_much(models: ModelHub):
    weights = base_weights(shapes=SHAPES)
    first = push(models, "alice/wide", weights, "F32") + push(models, "alice/slim", weights, "BF16")
    other = base_weights(9, shapes=SHAPES)
    second = push(models, "bob/slim", other, "BF16") + push(models, "bob/wide", other, "F32")
    assert second == pytest.approx(first, rel=0.05)
    models.check()


def test_extended_vocabulary_in_another_precision_is_a_delta_too(models: ModelHub):
    base = as_bf16(base_weights(shapes=SHAPES))
    push(models, "alice/base", base, "BF16")
    longer = as_bf16(tuned(base, 1, 1e-4))
    extra = np.random.default_rng(5).normal(0, 0.02, (8, 64)).astype("f4")
    longer[BIG] = np.concatenate([longer[BIG], as_bf16({"": extra})[""]])
    models.push("alice/longer", {"README.md": card("alice/base")})
    stored = push(models, "alice/longer", longer, "F32")
    assert models.base_of("alice/longer", BIG) == "alice/base"
    assert stored < 0.16 * raw_nbytes(longer, "F32")
    models.check()


def test_big_tensors_of_other_precisions_are_streamed(models: ModelHub, monkeypatch):
    for module in ("encode", "recode", "coding", "repack"):
        monkeypatch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", 100_000)
    base = as_bf16(base_weights(shapes={BIG: (40_000, 64)}))
    raw = raw_nbytes(base, "F32")
    push(models, "alice/base", base, "BF16")
    assert push(models, "alice/twin", base, "F32") < 0.01 * raw
    nearly = {name: each.copy() for name, each in base.items()}
    nearly[BIG][1234, 5] *= np.float32(1.0001)  # seems narrow wherever one looks
    assert push(models, "alice/nearly", nearly, "F32") < 0.01 * raw
    assert push(models, "alice/tune", tuned(base, 1, 2e-5), "F32") < 0.52 * raw
    models.check()


def test_unrelated_model_of_another_precision_is_coded_alone(models: ModelHub):
    push(models, "alice/a", base_weights(1, shapes=SHAPES), "BF16")
    models.push("alice/b", {"README.md": card("alice/a")})
    push(models, "alice/b", base_weights(2, shapes=SHAPES), "F32")
    assert {e.base_id for e in models.encodings("alice/b").values()} == {None}
    models.check()
