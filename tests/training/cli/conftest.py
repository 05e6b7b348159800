"""Fixtures that need torch, for tests that have it anyway."""

from tests.fixtures.training import workshop

__all__ = ["workshop"]
