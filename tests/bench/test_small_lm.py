"""The small language model: trained once, the same again, its siblings as described."""

from pathlib import Path

import numpy as np
import pytest

from bench import small_lm
from bench.peers import read_tensors
from bench.small_lm import Plan, Sibling, weights

TOY = Plan(
    hidden=64,
    layers=3,
    vocabulary=300,
    batch=1,
    context=8,
    base_steps=2,
    siblings=(
        Sibling("full", 1e-3, 2, dtypes=("BF16", "F32")),
        Sibling("lora", 1e-2, 2, trains="lora"),
        Sibling("last", 1e-3, 2, trains="last"),
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("one"))


def train(directory: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_lm, "TEXT_NBYTES", 60_000)
        small_lm.train_base(TOY, directory)
        for sibling in TOY.siblings:
            small_lm.train_sibling(TOY, directory, sibling)
    return directory


def changed(made: Path, sibling: str) -> set[str]:
    base = read_tensors(weights(made, "base", "BF16"))
    tuned = read_tensors(weights(made, sibling, "BF16"))
    return {name for name in base if not np.array_equal(base[name].raw, tuned[name].raw)}


def test_siblings_differ_where_they_were_trained(made: Path):
    assert "model.embed_tokens.weight" in changed(made, "full")
    assert all("proj" in name for name in changed(made, "lora"))
    assert changed(made, "last")
    assert not any(".layers.0." in name for name in changed(made, "last"))


def test_base_in_f32_holds_the_values_of_bf16(made: Path):
    wide, narrow = (read_tensors(weights(made, "base", dtype)) for dtype in ("F32", "BF16"))
    for name, tensor in wide.items():
        assert np.array_equal(tensor.raw.view("u2")[1::2], narrow[name].raw.view("u2"))


def test_same_plan_gives_same_bytes(made: Path, tmp_path: Path):
    again = train(tmp_path)
    for path in made.glob("*.safetensors"):
        assert (again / path.name).read_bytes() == path.read_bytes()
