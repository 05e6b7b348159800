"""Order does not matter: whatever is uploaded first, the store ends at about the same size."""

import itertools
import random

import pytest

from app.gc.collect import collect
from tests.fixtures.hub import open_test_hub
from tests.fixtures.models import ModelHub, Weights, as_bf16, base_weights, tuned

pytestmark = pytest.mark.long

SHAPES = {
    "embed_tokens.weight": (1100, 64),
    "layers.0.up.weight": (256, 64),
    "layers.0.down.weight": (64, 256),
    "layers.0.norm.weight": (64,),
}

TOLERANCE = 1.03


@pytest.fixture(scope="module")
def family() -> dict[str, Weights]:
    """A base and four fine-tunes of it, of different strength."""
    base = as_bf16(base_weights(7, SHAPES))
    sigmas = {"f1": 1e-4, "f2": 3e-4, "f3": 3e-4, "f4": 6e-4}
    tunes = {name: tuned(base, seed, sigma) for seed, (name, sigma) in enumerate(sigmas.items(), 1)}
    return {"base": base, **tunes}


def stored_in_order(models: ModelHub, family: dict[str, Weights], order, *, at_once: bool) -> int:
    for name in order:
        models.push(f"alice/{name}", family[name])
        if not at_once:
            models.run_jobs()
    models.run_jobs()
    collect(models.hub, now=True)
    models.check()
    assert models.bucket_nbytes() <= models.stored_nbytes() / 0.8
    return models.bucket_nbytes()


@pytest.fixture
def fresh_hub(tmp_path, migrated_sqlite):
    """Makes hubs, one per order."""
    from app.settings import Settings

    hubs = []

    def make() -> ModelHub:
        data = tmp_path / f"hub{len(hubs)}"
        data.mkdir()
        (data / "hub.sqlite").write_bytes(migrated_sqlite)
        hubs.append(open_test_hub(Settings(data=data)))
        return ModelHub(hubs[-1])

    yield make
    for hub in hubs:
        hub.close()


def test_three_models_in_all_orders_end_at_the_same_size(fresh_hub, family):
    orders = itertools.permutations(["base", "f1", "f2"])
    sizes = {o: stored_in_order(fresh_hub(), family, o, at_once=False) for o in orders}
    assert max(sizes.values()) <= TOLERANCE * min(sizes.values()), sizes


def test_five_models_in_shuffled_orders_end_at_the_same_size(fresh_hub, family):
    orders = [list(family), list(reversed(family))]
    orders += [random.Random(seed).sample(list(family), 5) for seed in range(4)]
    sizes = {
        "-".join(o): stored_in_order(fresh_hub(), family, o, at_once=n % 2 == 1)
        for n, o in enumerate(orders)
    }
    assert max(sizes.values()) <= TOLERANCE * min(sizes.values()), sizes


def test_late_base_becomes_the_base_of_its_fine_tunes(models: ModelHub, family):
    for name in ("f2", "f3", "f4", "base"):
        models.push(f"alice/{name}", family[name])
        models.run_jobs()
    bases = {n: models.base_of(f"alice/{n}", "embed_tokens.weight") for n in family if n != "f1"}
    assert bases == {
        "base": None,
        "f2": "alice/base",
        "f3": "alice/base",
        "f4": "alice/base",
    }
    models.check()
