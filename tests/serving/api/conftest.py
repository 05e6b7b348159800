"""The server that this directory's tests share; torch is imported for them alone."""

from tests.fixtures.inference import inference

__all__ = ["inference"]
