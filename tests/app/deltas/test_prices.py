"""What distances between sketches say of prices."""

import numpy as np
import pytest

import codec
from app.deltas.domain import Holders
from app.deltas.prices import RootPrices, SketchPrices
from tests.fixtures.models import bf16_bytes

BASE, ONE, OTHER, NEAR, SHORT = range(5)
PUBLIC = Holders(public=True, known=True, namespaces=frozenset({1}))


@pytest.fixture(scope="module")
def prices() -> SketchPrices:
    """A base, two fine-tunes in different directions, one that went on, a shorter tensor."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.02, (256, 64)).astype("f4")
    one = base + rng.normal(0, 5e-4, base.shape).astype("f4")
    other = base + rng.normal(0, 5e-4, base.shape).astype("f4")
    near = one + rng.normal(0, 1e-4, base.shape).astype("f4")
    tensors = [base, one, other, near, base[:100]]
    return SketchPrices(
        {n: codec.sketch(bf16_bytes(each), dtype="BF16") for n, each in enumerate(tensors)},
        {n: each.size * 2 for n, each in enumerate(tensors)},
        dict.fromkeys(range(len(tensors)), PUBLIC),
    )


def test_what_is_plainly_farther_is_the_longer_delta(prices: SketchPrices):
    for content, base, than in [(ONE, OTHER, BASE), (ONE, BASE, NEAR), (NEAR, OTHER, ONE)]:
        assert prices.is_farther(content, base, than)
        assert not prices.is_farther(content, than, base)
        assert (prices.delta(content, base) or 0) > (prices.delta(content, than) or 0)


def test_what_cannot_be_compared_is_not_plainly_farther(prices: SketchPrices):
    assert not prices.is_farther(ONE, SHORT, BASE)
    assert not prices.is_farther(ONE, BASE, SHORT)


def test_a_root_has_to_be_farther_to_be_so_plainly(prices: SketchPrices):
    siblings = RootPrices(prices, frozenset({OTHER}))
    assert siblings.is_farther(ONE, OTHER, NEAR)
    near, far = prices.distance(ONE, BASE), prices.distance(ONE, OTHER)
    assert siblings.is_farther(ONE, OTHER, BASE) == (near * 1.05 * 1.07 < far)
    assert RootPrices(prices, frozenset({BASE})).is_farther(ONE, OTHER, BASE)
