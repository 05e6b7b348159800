"""A base and data to train on."""

from tests.fixtures.training import workshop

__all__ = ["workshop"]
