"""Models that a LoRA was merged into: stored in hardly more than the LoRA, whichever way."""

import numpy as np
import pytest

from app.contents.reading import load_refs, read_content
from tests.fixtures.models import ModelHub, Weights, as_bf16, base_weights, bf16_bytes, card

UP = "layers.0.up.weight"
SHAPES = {UP: (1024, 256), "layers.0.down.weight": (256, 1024), "layers.0.norm.weight": (256,)}


def merged(weights: Weights, seed: int, rank: int = 4) -> Weights:
    """What merging a LoRA makes of the matrices."""
    rng = np.random.default_rng(seed)

    def update(shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(0, 0.03, (shape[0], rank)) @ rng.normal(0, 0.03, (rank, shape[1]))

    return {
        name: (each + update(each.shape)).astype("f4") if each.ndim == 2 else each
        for name, each in weights.items()
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_merged_loras_are_stored_in_little_more_than_the_loras(
    models: ModelHub, monkeypatch, streamed
):
    if streamed:
        for module in ("encode", "recode", "coding", "repack"):
            monkeypatch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", 100_000)
    base = as_bf16(base_weights(shapes=SHAPES))
    models.push("alice/base", base)
    models.run_jobs()
    before = models.stored_nbytes()
    for seed in (1, 2):
        models.push(f"alice/merged-{seed}", {"README.md": card("alice/base")})
        models.push(f"alice/merged-{seed}", merged(base, seed))
    models.run_jobs()
    for seed in (1, 2):
        encoding = models.encodings(f"alice/merged-{seed}")[UP]
        assert models.base_of(f"alice/merged-{seed}", UP) == "alice/base"
        assert encoding.nbytes < 0.11 * 2 * base[UP].size
    assert models.stored_nbytes() - before < 2 * 0.12 * 2 * sum(w.size for w in base.values())
    models.check()


def test_a_part_of_a_merged_matrix_is_read_alone(models: ModelHub):
    base = as_bf16(base_weights(shapes=SHAPES))
    models.push("alice/base", base)
    models.push("alice/merged", {"README.md": card("alice/base")})
    tune = merged(base, 3)
    models.push("alice/merged", tune)
    models.run_jobs()
    encoding = models.encodings("alice/merged")[UP]
    assert encoding.base_id is not None
    with models.hub.db.read() as session:
        ref = load_refs(session, [encoding.content_id])[encoding.content_id]
    raw = bf16_bytes(tune[UP])
    for start, stop in ((0, 1), (123_457, 123_999), (len(raw) - 3, len(raw))):
        assert bytes(read_content(models.hub, ref, start, stop)) == raw[start:stop]
