"""Weights: out of a hub, compressed and verified, into a model that may be running."""
