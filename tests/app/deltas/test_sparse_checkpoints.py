"""Checkpoints of which little changed, as reinforcement learning makes them: stored in next to
nothing, whichever way they are coded."""

import numpy as np
import pytest

from tests.fixtures.models import ModelHub, Weights, base_weights, card

BIG = "embed_tokens.weight"
SHAPES = {BIG: (8000, 64), "layers.0.up.weight": (2048, 64)}


def moved(weights: Weights, step: float, seed: int = 1) -> Weights:
    """All weights moved by far less than BF16 can tell, so that few of them change there."""
    rng = np.random.default_rng(seed)
    return {
        name: (each + rng.laplace(size=each.shape) * step).astype("f4")
        for name, each in weights.items()
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_checkpoints_of_which_little_changed_are_sparse_deltas(
    models: ModelHub, monkeypatch, streamed
):
    if streamed:
        for module in ("encode", "recode", "coding", "repack"):
            monkeypatch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", 100_000)
    weights = base_weights(shapes=SHAPES)
    models.push("alice/base", weights)
    models.run_jobs()
    before = models.stored_nbytes()
    for step in (1, 2, 3):
        models.push(f"alice/step-{step}", {"README.md": card("alice/base")})
        models.push(f"alice/step-{step}", moved(weights, 1e-7 * step, step))
    models.run_jobs()
    for step in (1, 2, 3):
        encoding = models.encodings(f"alice/step-{step}")[BIG]
        assert encoding.codec == "SPARSE"
        assert models.base_of(f"alice/step-{step}", BIG) == "alice/base"
        assert encoding.nbytes < 0.02 * 2 * weights[BIG].size
    assert models.stored_nbytes() - before < 3 * 0.03 * 2 * sum(w.size for w in weights.values())
    models.check()
