"""Fixtures that need torch, for tests that have it anyway."""

import pytest

from tests.fixtures.training import workshop
from training.jobs import training

__all__ = ["workshop"]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compressed here while a result waits for it."""
    monkeypatch.setattr(training, "SETTLE_S", 0.0)
