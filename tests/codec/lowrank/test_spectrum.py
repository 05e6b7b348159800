"""Directions of updates: found where they are, and not where there are none."""

import numpy as np
import pytest

from codec.lowrank.spectrum import Glance, Spectrum


def update(rows: int, columns: int, rank: int, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    product = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    return (product + noise * rng.standard_normal((rows, columns))).astype(np.float32)


def spectrum_of(moved: np.ndarray) -> Spectrum:
    glance = Glance.of(moved[:: max(1, moved.shape[0] // 64)][:64], moved.shape[0])
    return Spectrum.of(lambda first, last: moved[first:last], moved.shape[0], glance)


@pytest.mark.parametrize(("rows", "columns"), [(400, 200), (200, 400), (64, 900)])
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_the_rank_of_a_product_is_found(rows, columns, rank):
    spectrum = spectrum_of(update(rows, columns, rank, 0.02))
    assert rank <= spectrum.likely(1)[0] <= rank + 2
    exact = np.linalg.svd(update(rows, columns, rank, 0.02).astype(float), compute_uv=False)
    assert spectrum.energies[:rank] == pytest.approx(exact[:rank] ** 2, rel=1e-3)


def test_noise_has_no_directions_worth_their_numbers():
    noise = update(600, 500, 1, 1e4)
    glance = Glance.of(noise[::10], 600)
    assert max(glance.saved.values(), default=0.0) < 0.05


def test_an_update_of_nothing_is_no_error():
    glance = Glance.of(np.zeros((40, 50), np.float32), 40)
    assert glance.saved == {}
    assert glance.directions.shape == (50, 0)


@pytest.mark.parametrize("fineness", [1.0, 0.25, 1 / 64])
def test_factors_err_as_little_as_is_asked(fineness):
    moved = update(300, 500, 6, 0.05)
    spectrum = spectrum_of(moved)
    factors = spectrum.factors(6, fineness, 300)
    left, right = factors.matrices
    product = (left.astype(float) @ right) * float(factors.scale)
    exact = spectrum.left[:, :6] @ spectrum.right[:6]
    error = float(np.sqrt(np.mean((product - exact) ** 2)))
    assert 0.4 * fineness * 0.05 < error < 1.1 * fineness * 0.05


def test_rows_that_the_update_lacks_do_not_move():
    factors = spectrum_of(update(100, 80, 3, 0.01)).factors(3, 1.0, 130)
    left, _ = factors.matrices
    assert left.shape == (130, 3)
    assert not left[100:].any()
    assert left[:100].any()


def test_factors_of_a_wild_update_stay_within_their_numbers():
    moved = update(100, 100, 2, 1e-9) * np.float32(1e10)
    factors = spectrum_of(moved).factors(2, 1 / 64, 100)
    left, right = factors.matrices
    assert np.abs(left).max() <= 32767
    product = (left.astype(float) @ right) * float(factors.scale)
    assert np.abs(product - moved).max() < 1e-3 * np.abs(moved).max()
